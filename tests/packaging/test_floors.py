"""No version below the one that mended a known hole: what is asked for, what is pinned, what is installed."""

import re
import tomllib
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
#: The advisories: torch CVE-2026-24747, onnx CVE-2026-34445 and before, starlette CVE-2026-48710, python-multipart
#: CVE-2026-42561; celery and kombu for lost messages after a reconnect, FastAPI for the starlette that it allows.
FLOORS = {
    "torch": "2.10",
    "onnx": "1.21",
    "starlette": "1.3.1",
    "python-multipart": "0.0.27",
    "fastapi": "0.135",
    "celery": "5.6.2",
    "kombu": "5.6.2",
}


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_what_is_pinned_and_installed_is_no_older(name: str, floor: str) -> None:
    pins = dict(re.findall(r"^([\w.-]+)==([\w.+]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {key.lower().replace("_", "-"): version for key, version in pins.items()}
    if name in pinned:
        assert Version(pinned[name]) >= Version(floor)
    with suppress(metadata.PackageNotFoundError):  # nothing of ours needs it
        assert Version(metadata.version(name)) >= Version(floor)


def test_what_is_asked_for_directly_has_its_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        Requirement(line)
        for lines in (project["dependencies"], *project["optional-dependencies"].values())
        for line in lines
    ]
    bounds = {need.name: need.specifier for need in asked if need.name in FLOORS}
    assert {"torch", "onnx", "fastapi", "celery"} <= set(bounds)
    for name, allowed in bounds.items():
        below = f"{'.'.join(FLOORS[name].split('.')[:-1])}.{int(FLOORS[name].split('.')[-1]) - 1}"
        assert not allowed.contains(below), f"{name} {below} has a known hole"
