"""A client that a public generator made of our OpenAPI document does the main job, with a key."""

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import httpx
import pytest
import torch

from scripts.contract.service import make_key, write_files
from scripts.stack import Stack

pytestmark = pytest.mark.acceptance

GENERATOR = Path(sys.executable).with_name("openapi-python-client")
#: It need not tidy up what it writes; and the type of a tus body is one that it does not know.
CONFIG = """post_hooks: []
content_type_overrides:
  application/offset+octet-stream: application/octet-stream
"""

Found = TypeVar("Found")


class Generated:
    """The client, by the modules that its users import."""

    def __init__(self, package: ModuleType, url: str, token: str) -> None:
        self._name = package.__name__
        self.models: Any = self._module("models")
        self.types: Any = self._module("types")
        make = self._module("client").AuthenticatedClient
        # The service is on this machine: a proxy that the environment names is not asked.
        self.client = make(base_url=url, token=token, timeout=httpx.Timeout(60), httpx_args={"trust_env": False})

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self._name}.{name}")

    def call(self, tag: str, operation: str, *arguments: Any, **more: Any) -> Any:
        """What the operation answers, which must not be a problem."""
        answer = self._module(f"api.{tag}.{operation}").sync_detailed(*arguments, client=self.client, **more)
        assert answer.status_code < 300, answer.content
        return answer.parsed


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A service of its own: from its first key on, one needs a key."""
    with Stack(tmp_path_factory.mktemp("keyed"), devices="cpu", threads="1", port="0", spares="false") as running:
        yield running, make_key(running, "vision", "user")


@pytest.fixture
def generated(keyed: tuple[Stack, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generated]:
    """The client of the running service's document; the generator has nothing to complain of."""
    stack, token = keyed
    document, config = tmp_path / "openapi.json", tmp_path / "config.yaml"
    document.write_text(httpx.get(f"{stack.url}/openapi.json", trust_env=False).text)
    config.write_text(CONFIG)
    command: list[str | Path] = [GENERATOR, "generate", "--path", document, "--config", config, "--fail-on-warning"]
    command += ["--meta", "none", "--output-path", tmp_path / "generated_client"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "warning" not in (made.stdout + made.stderr).lower()
    monkeypatch.syspath_prepend(str(tmp_path))
    client = Generated(importlib.import_module("generated_client"), stack.url, token)
    with client.client:
        yield client
    for name in [name for name in sys.modules if name.partition(".")[0] == "generated_client"]:
        del sys.modules[name]


def until(look: Callable[[], Found], done: Callable[[Found], bool], patience_s: float = 120) -> Found:
    """What is found once it is as wanted."""
    end = time.monotonic() + patience_s
    while not done(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def test_every_operation_is_generated(generated: Generated, keyed: tuple[Stack, str], tmp_path: Path) -> None:
    paths = httpx.get(f"{keyed[0].url}/openapi.json", trust_env=False).json()["paths"]
    wanted = {operation["operationId"] for methods in paths.values() for operation in methods.values()}
    there = {path.stem for path in (tmp_path / "generated_client" / "api").rglob("*.py")} - {"__init__"}
    assert there == wanted


def test_the_generated_client_does_the_main_job(generated: Generated, tmp_path: Path) -> None:
    models, call = generated.models, generated.call
    write_files(tmp_path)

    def upload(name: str) -> str:
        with (tmp_path / name).open("rb") as file:
            made = call("uploads", "create_upload", body=generated.types.File(payload=file), filename=name)
        return str(made.id)

    wide = models.MLP(hidden=[16])
    teacher = models.TeacherCreate(name="wide", upload=upload("teacher.pth"), architecture=wide)
    teacher = call("teachers", "create_teacher", body=teacher)
    dataset = models.DatasetCreate(
        name="digits", upload=upload("digits.npz"), task=models.DatasetCreateTask.IMAGE_CLASSIFICATION
    )
    dataset = call("datasets", "create_dataset", body=dataset)
    for kind, thing in (("teacher", teacher), ("dataset", dataset)):
        look = partial(call, f"{kind}s", f"get_{kind}", thing.id)
        seen = until(look, lambda seen: seen.status != models.CheckStatus.CHECKING)
        assert seen.status == models.CheckStatus.READY, seen.report
    spec = models.JobSpec(
        teacher=teacher.id,
        dataset=dataset.id,
        student=models.MLP(hidden=[8]),
        loss=models.KD(t=4.0),
        train=models.Train(epochs=2, batch_size=128),
        allow_weak_teacher=True,
    )
    validated = call("jobs", "validate_job", body=spec)
    assert validated.valid, validated.problems
    job = call("jobs", "create_job", body=spec, idempotency_key="once")
    assert call("jobs", "create_job", body=spec, idempotency_key="once").id == job.id
    job = until(lambda: call("jobs", "get_job", job.id), lambda seen: seen.is_terminal)
    assert job.status == models.JobStatus.SUCCEEDED, job.error
    assert [listed.id for listed in call("jobs", "list_jobs").items] == [job.id]
    events = call("jobs", "list_events", job.id, limit=1000).items
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type_ == "succeeded"
    runs = {(point.run, point.epoch) for point in call("jobs", "get_metrics", job.id).points}
    assert {("student", 1.0), ("student", 2.0)} <= runs
    assert call("jobs", "get_logs", job.id) is not None
    weights = torch.load(call("artifacts", "download_student", job.id).payload, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    named = [file.name for file in call("artifacts", "list_artifacts", job.id).items]
    assert call("artifacts", "download_artifact", job.id, "report.json").payload.read().startswith(b"{")
    assert "student.pth" in named


def test_without_a_key_it_is_told_to_send_one(keyed: tuple[Stack, str]) -> None:
    answer = httpx.get(f"{keyed[0].url}/jobs", trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
