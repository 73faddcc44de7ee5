"""The very commands of the images and of docker-compose.yml, run as plain processes on real servers.

Only what an engine would map is changed: the addresses of the database and of Redis, the folders of the volumes, and
the port, since another program may have that one.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.packaging.images import Place, read

START_S = 60.0
#: As long as any container of ours has before it is killed.
STOP_S = 30.0


@dataclass
class Container:
    """A service of docker-compose.yml as a process, or about to be one."""

    place: Place
    command: list[str]
    health: list[str]
    environment: dict[str, str]
    log: Path

    def is_well(self) -> bool:
        """What its health check says."""
        return self.place.run(self.health, self.environment, self.log) == 0

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process, for the time of the block, from the first good health check on."""
        process = self.place.start(self.command, self.environment, self.log)
        try:
            wait(lambda: process.poll() is not None or self.is_well())
            assert process.poll() is None, self.log.read_text()
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


@dataclass
class Deployment:
    """Makes the services of docker-compose.yml."""

    services: dict[str, Any]
    places: dict[str, Place]
    database: str
    redis: str
    folder: Path
    port: int
    #: Of the first key, once there is one.
    token: str = ""

    def make_key(self) -> None:
        """The first key, as docs/deployment.md has it made."""
        migrate = self.container("migrate")
        command = ["python", "-m", "core.keys", "--owner", "vision", "--role", "admin", "--name", "first"]
        assert migrate.place.run(command, migrate.environment, migrate.log) == 0, migrate.log.read_text()
        self.token = re.findall(r"^dk_\w{54}$", migrate.log.read_text(), flags=re.MULTILINE)[-1]

    def container(self, service: str) -> Container:
        """A service, ready to start."""
        target = self.services[service]["build"]["target"]
        image = read(target)
        mapped = {"/data": self.folder / f"{service}-data", "/storage": self.folder / "storage"}
        for folder in mapped.values():
            folder.mkdir(exist_ok=True)
        environment = {**image.environment, **self.services[service]["environment"]}
        environment |= {
            "DISTILLERY_DATABASE_URL": self.database,
            "DISTILLERY_REDIS_URL": self.redis,
            "DISTILLERY_STORAGE_URL": environment["DISTILLERY_STORAGE_URL"].replace(
                "/storage", str(mapped["/storage"])
            ),
            "DISTILLERY_DATA_DIR": str(mapped[environment["DISTILLERY_DATA_DIR"]]),
        }
        if "DISTILLERY_PORT" in environment:
            environment["DISTILLERY_PORT"] = str(self.port)
        health = [word.replace(":8000/", f":{self.port}/") for word in image.health]
        command = self.services[service]["command"] or image.command
        return Container(self.places[target], command, health, environment, self.folder / f"{service}.log")

    def get(self, path: str) -> Any:
        """What the API answers."""
        return self.ask(Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, body: bytes | dict[str, Any]) -> Any:
        """What the API answers to bytes or JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        return self.ask(Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": kind}))

    def ask(self, request: Request) -> Any:
        """The JSON of the answer; a refusal is shown whole."""
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except HTTPError as refusal:
            pytest.fail(f"{request.full_url}: {refusal.code} {refusal.read().decode()}")


@pytest.fixture
def deployment(
    compose: dict[str, Any], api_place: Place, worker_place: Place, database: str, redis_url: str, tmp_path: Path
) -> Deployment:
    """The services on this test's own servers and folders."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {"api": api_place, "worker": worker_place}
    return Deployment(compose["services"], places, database, redis_url, tmp_path, port)


def wait(until: Callable[[], bool]) -> None:
    """Return once it is so; fail where it takes too long."""
    end = time.monotonic() + START_S
    while not until():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def test_the_migration_runs_from_the_api_image_as_often_as_one_likes(deployment: Deployment) -> None:
    migrate = deployment.container("migrate")
    for _ in range(2):
        code = migrate.place.run(migrate.command, migrate.environment, migrate.log)
        assert code == 0, migrate.log.read_text()


def test_an_upload_is_checked_and_converted_by_the_two_images(deployment: Deployment) -> None:
    api, worker = deployment.container("api"), deployment.container("worker-cpu")
    assert not api.is_well()
    assert not worker.is_well()
    assert api.place.run(api.command, api.environment, api.log) == 1
    assert "the service has no keys" in api.log.read_text()
    deployment.make_key()
    table = "x,y,label\n" + "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(60))
    with api.running() as served, worker.running() as working:
        assert deployment.get("/readyz")
        for page in ("/docs", "/docs/errors"):
            assert b"<html" in urlopen(f"http://127.0.0.1:{deployment.port}{page}", timeout=10).read()
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"http://127.0.0.1:{deployment.port}/jobs", timeout=10)
        upload = deployment.post("/uploads?filename=table.csv", table.encode())
        wish = {"name": "t", "upload": upload["id"], "task": "tabular_classification", "table": {"target": "label"}}
        dataset = deployment.post("/datasets", wish)
        wait(lambda: deployment.get(f"/datasets/{dataset['id']}")["status"] != "checking")
        checked = deployment.get(f"/datasets/{dataset['id']}")
        assert checked["status"] == "ready", (checked, worker.log.read_text())
    assert served.returncode in {0, -signal.SIGTERM}
    assert working.returncode in {0, -signal.SIGTERM}
    assert not api.is_well()


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages([name], f"{name}."):
        if module.name.rpartition(".")[2] != "__main__":
            importlib.import_module(module.name)
print(sorted(sys.modules))
"""


def test_the_api_image_has_all_that_its_code_imports(api_place: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = api_place.run(["python", "-c", IMPORT_EVERYTHING, "api", "core", "models"], {}, log)
    assert code == 0, log.read_text()
    assert "'torch'" not in log.read_text()


def test_the_worker_image_has_all_that_its_code_imports(worker_place: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = worker_place.run(["python", "-c", IMPORT_EVERYTHING, "worker", "core", "models"], {}, log)
    assert code == 0, log.read_text()
    assert "'torch'" in log.read_text()


def test_the_layout_hides_what_an_image_lacks(api_place: Place, tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    assert "torch" in {path.name for path in map(Path, sys.path) if path.is_dir() for path in path.iterdir()}
    for missing in ("torch", "numpy", "worker", "pytest"):
        assert api_place.run(["python", "-c", f"import {missing}"], {}, tmp_path / "log") != 0
