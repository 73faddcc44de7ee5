"""docker-compose.yml, the Dockerfile and core/settings.py name the same things; the deployment keeps its promises."""

import re
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from core.settings import Settings, settings
from tests.packaging.images import ROOT, packages, read, run_compose, stages

OURS = ["api", "migrate", "worker", "worker-cpu"]
KNOWN = {f"DISTILLERY_{name.upper()}" for name in Settings.model_fields}


def environment(compose: dict[str, Any], service: str) -> dict[str, str]:
    """What a container of ours sees: the image's variables, and over them the service's."""
    target = compose["services"][service]["build"]["target"]
    return {**read(target).environment, **compose["services"][service]["environment"]}


def settings_of(compose: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that such a container works by."""
    for name, value in environment(compose, service).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return settings()


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting(compose: dict[str, Any], service: str) -> None:
    ours = {name for name in environment(compose, service) if name.startswith("DISTILLERY_")}
    assert ours
    assert ours <= KNOWN


@pytest.mark.parametrize("service", OURS)
def test_addresses_are_those_of_the_services(
    compose: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings_of(compose, service, monkeypatch)
    services = compose["services"]
    database = make_url(found.database_url)
    assert database.drivername == "postgresql+psycopg"
    assert database.host in services
    server = services[database.host]["environment"]
    assert (database.username, database.password, database.database) == (
        server["POSTGRES_USER"],
        server["POSTGRES_PASSWORD"],
        server["POSTGRES_DB"],
    )
    assert re.fullmatch(r"redis://redis:6379/\d+", found.redis_url)
    assert found.log_json


def test_api_and_workers_share_the_files_and_nothing_of_a_container_is_lost(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("api", "worker", "worker-cpu"):
        found = settings_of(compose, service, monkeypatch)
        mounts = {each["target"]: each["source"] for each in compose["services"][service]["volumes"]}
        assert mounts[found.storage_url.removeprefix("file://")] == "storage"
        assert str(found.data_dir) in mounts
        assert set(mounts.values()) <= set(compose["volumes"])
    [made] = [run for run in stages()["base"].values("RUN") if "install --directory" in run]
    assert set(mounts) <= set(made.split()), "a new volume takes its owner from the folder in the image"


def test_workers_can_compile_and_the_api_carries_no_compiler() -> None:
    installing = {name: [run for run in stages()[name].values("RUN") if "apt-get install" in run] for name in stages()}
    [made] = installing.pop("worker")
    assert "g++" in made.split()
    assert not any(installing.values())


def test_the_api_listens_where_it_is_published_and_on_loopback_alone(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings_of(compose, "api", monkeypatch)
    [published] = compose["services"]["api"]["ports"]
    assert (published["host_ip"], published["published"]) == ("127.0.0.1", "8000")
    assert read("api").ports == [published["target"]] == [found.port]
    assert f":{found.port}/" in " ".join(read("api").health)
    assert found.host == "0.0.0.0"
    others = {name for name, service in compose["services"].items() if "ports" in service}
    assert others == {"api"}


def test_no_secret_is_in_a_file() -> None:
    written = (ROOT / "docker-compose.yml").read_text().lower()
    literal = re.sub(r"\$\{postgres_password:\?[^}]*\}|postgres_password:", "", written)
    assert not re.search(r"secret|token|passw(?!ord comes from \.env)", literal)
    assert re.search(r"^POSTGRES_PASSWORD=$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    kept_out = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert kept_out[0] == "*"


def test_without_a_password_compose_says_where_to_set_it() -> None:
    refused = run_compose({})
    assert refused.returncode != 0
    assert "set it in .env, see .env.example" in refused.stderr


def test_every_service_that_stays_says_whether_it_is_well(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name == "migrate":
            assert service["restart"] == "no"
            assert service["healthcheck"]["disable"]
            continue
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"]
        assert "healthcheck" in service or read(service["build"]["target"]).health


@pytest.mark.parametrize("service", ["api", "worker", "worker-cpu"])
def test_what_serves_waits_for_the_migration(compose: dict[str, Any], service: str) -> None:
    conditions = {name: each["condition"] for name, each in compose["services"][service]["depends_on"].items()}
    assert conditions == {
        "migrate": "service_completed_successfully",
        "db": "service_healthy",
        "redis": "service_healthy",
    }


@pytest.mark.parametrize("service", OURS)
def test_our_containers_have_few_rights(compose: dict[str, Any], service: str) -> None:
    found = compose["services"][service]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", read(found["build"]["target"]).user)
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_redis_keeps_what_it_was_told(compose: dict[str, Any]) -> None:
    command = compose["services"]["redis"]["command"]
    told = dict(zip(command[1::2], command[2::2], strict=True))
    assert told["--appendonly"] == "yes"
    assert told["--maxmemory-policy"] == "noeviction"


def test_workers_are_chosen_by_profile_and_only_one_asks_for_gpus(compose: dict[str, Any]) -> None:
    gpu, cpu = compose["services"]["worker"], compose["services"]["worker-cpu"]
    assert (gpu["profiles"], cpu["profiles"]) == (["gpu"], ["cpu"])
    [asked] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert asked["capabilities"] == ["gpu"]
    assert "deploy" not in cpu
    assert cpu["environment"]["DISTILLERY_DEVICES"] == "cpu"
    assert "DISTILLERY_DEVICES" not in gpu["environment"]


def test_who_reads_strangers_files_has_no_way_out(compose: dict[str, Any]) -> None:
    assert compose["networks"]["inside"]["internal"]
    for name, service in compose["services"].items():
        assert set(service["networks"]) == ({"inside", "outside"} if name == "api" else {"inside"})


def test_torch_is_in_the_worker_image_alone() -> None:
    assert not {"torch", "torchvision", "timm", "onnxruntime", "numpy"} & set(packages(read("api").extra))
    assert {"torch", "timm", "onnxruntime"} <= set(packages(read("worker").extra))
    assert "fastapi" not in packages(read("worker").extra)


def test_the_build_sees_what_it_copies_and_no_more() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    named = [word for copy in stages()["packages"].values("COPY") for word in copy.split()[:-1]]
    assert let_in == {*named, *read("api").copied, *read("worker").copied}


def test_every_image_is_named_with_its_version(compose: dict[str, Any]) -> None:
    foreign = [service["image"] for service in compose["services"].values() if "build" not in service]
    bases = [stage.base for stage in stages().values() if stage.base not in stages()]
    assert foreign
    assert bases
    for image in (*foreign, *bases):
        assert re.search(r":[\d.]+[a-z-]*$", image), f"{image} would change under us"


def test_the_file_reads_the_same_without_compose() -> None:
    plain = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(plain["services"]) == {"db", "redis", "migrate", "api", "worker", "worker-cpu"}
