"""Schemathesis against a service that runs, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.contract.service import Service

_CONFIG = Path(__file__).with_name("schemathesis.toml")
_REPOSITORY = Path(__file__).resolve().parents[2]
#: How often a parameter that takes an id gets one that there is.
_SHARE = 0.8


def run(service: Service, folder: Path, seed: int, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """One run; its exit code is 0 where there is no finding."""
    document, config = folder / "openapi.json", folder / "schemathesis.toml"
    document.write_text(json.dumps(service.document()))
    config.write_text(_CONFIG.read_text() + _dictionaries(service))
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run", document]
    env = os.environ | {"CONTRACT_TOKEN": service.token, "CONTRACT_IDS": json.dumps(service.ids)}
    return subprocess.run(
        [*map(str, command), "--url", service.url, "--seed", str(seed), "--no-color", *options],
        # Hypothesis keeps its examples where it stands.
        cwd=folder,
        env=env | {"PYTHONPATH": str(_REPOSITORY)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _dictionaries(service: Service) -> str:
    lines = ["", "[dictionaries]"]
    lines += [f"{name} = {{ values = {json.dumps(values)} }}" for name, values in service.ids.items()]
    lines += ["", "[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = {_SHARE} }}' for name in service.ids]
    return "\n".join(lines) + "\n"
