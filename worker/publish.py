"""From out/ in the work folder to artifacts: stored under keys of this attempt, unseen until the job ends well."""

import json
from pathlib import Path
from typing import Any

from core.jobs import Claim, NewArtifact
from core.storage import storage

_MEDIA_TYPES = {".json": "application/json", ".py": "text/x-python", ".md": "text/markdown"}
_REPORT = "report.json"


def store(claim: Claim, out: Path) -> list[NewArtifact]:
    """Store every file of `out`. Raises Unavailable or OSError where the store cannot take one; try it again whole."""
    return [_store_one(claim, path) for path in sorted(out.iterdir()) if path.is_file()]


def report(out: Path) -> dict[str, Any] | None:
    """The engine's report: the job's result. None where it wrote none."""
    path = out / _REPORT
    if not path.is_file():
        return None
    read = json.loads(path.read_text())
    return read if isinstance(read, dict) else None


def _store_one(claim: Claim, path: Path) -> NewArtifact:
    stored = storage().put_file(path, f"jobs/{claim.job_id}/attempts/{claim.attempt}/{path.name}")
    media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return NewArtifact(path.name, stored.key, stored.size, stored.sha256, media_type)
