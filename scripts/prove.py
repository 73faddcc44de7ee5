"""What both acceptance runs ask of an ended job: its files whole, its student scored by a program of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from scripts.client import Client, Refused

_SCORE = Path(__file__).with_name("score.py")


def prove(client: Client, job: dict[str, Any], folder: Path, kind: str, *files: str) -> dict[str, Any]:
    """Fetch student.pth in two parts and what else there is, check the hashes, and score it; see scripts/score.py."""
    if job["status"] != "succeeded":
        raise Refused(f"{job['name']} is {job['status']}: {json.dumps(job['error'], indent=2)}")
    folder.mkdir()
    for artifact in job["artifacts"]:
        digest = client.download(artifact["url"], folder / artifact["name"], cut_at=artifact["size"] // 2)
        if digest != artifact["sha256"]:
            raise Refused(f"{artifact['name']} came as {digest} and is listed as {artifact['sha256']}")
    torch.load(folder / "student.pth", weights_only=True)
    # -I: neither this folder nor any setting of Python's is seen, so nothing of the service can be imported.
    scored = subprocess.run(
        [sys.executable, "-I", str(_SCORE), str(folder), kind, *files], capture_output=True, text=True, check=False
    )
    if scored.returncode:
        raise Refused(f"{job['name']} could not be scored:\n{scored.stderr}")
    figures: dict[str, Any] = json.loads(scored.stdout)
    return figures
