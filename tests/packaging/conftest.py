"""Images as folders, once a run; and the deployment as Docker Compose itself reads it."""

import json
from typing import Any

import pytest

from tests.packaging.images import Place, lay_out, read, run_compose


@pytest.fixture(scope="session")
def api_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The api image as a folder."""
    return lay_out(read("api"), tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="session")
def worker_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The worker image as a folder."""
    return lay_out(read("worker"), tmp_path_factory.mktemp("worker"))


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml as Docker Compose resolves it, with every profile."""
    told = run_compose({"POSTGRES_PASSWORD": "secret"})
    assert told.returncode == 0, told.stderr
    resolved: dict[str, Any] = json.loads(told.stdout)
    return resolved
