"""Schemathesis against a service that runs, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.contract.conditions import withheld
from scripts.contract.service import Service
from scripts.contract.tally import Tally

_CONFIG = Path(__file__).with_name("schemathesis.toml")
_REPOSITORY = Path(__file__).resolve().parents[2]


def run(
    service: Service, folder: Path, seed: int, options: Sequence[str], tally: Tally
) -> subprocess.CompletedProcess[str]:
    """One run; its exit code is 0 where there is no finding. What it met is added to the tally."""
    whole, drawn, counts = folder / "whole.json", folder / "openapi.json", folder / "tally.json"
    document = service.document()
    whole.write_text(json.dumps(document))
    drawn.write_text(json.dumps(withheld(document)))
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", _CONFIG, "run", drawn]
    told = {
        "CONTRACT_TOKEN": service.token,
        "CONTRACT_DOCUMENT": str(whole),
        "CONTRACT_THINGS": json.dumps(service.things),
        "CONTRACT_TALLY": str(counts),
        "PYTHONPATH": str(_REPOSITORY),
    }
    ended = subprocess.run(
        [*map(str, command), "--url", service.url, "--seed", str(seed), "--no-color", *options],
        # Hypothesis keeps its examples where it stands.
        cwd=folder,
        env=os.environ | told,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    tally.add(counts)
    counts.unlink()
    return ended
