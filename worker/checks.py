"""One check of one upload, start to end: fetch, run the confined converter, store what it made, write the verdict.

A worker that dies in between leaves a lease that ends; the check is then made again, a few times at most.
"""

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from core import checks, db
from core.checks import CheckClaim, Kind
from core.errors import Infra
from core.settings import Settings, settings
from core.storage import Stored, storage
from models.tables import Upload
from models.work import IntakeOrder
from worker import drain
from worker.confine import Outcome, run_confined
from worker.folders import work_folder
from worker.intake_limits import Limits
from worker.outage import OUTAGE, patiently
from worker.pulse import Pulse
from worker.stage import StoredFile, copy

log = logging.getLogger(__name__)

_OPENERS: dict[Kind, tuple[str, ...]] = {
    "teachers": ("torch", "safetensors", "onnx", "onnxruntime"),
    "datasets": ("numpy", "pillow", "pyarrow", "safetensors"),
}
_KINDS: dict[Kind, str] = {"teachers": "teacher", "datasets": "dataset"}
#: A canonical set may be larger than its upload: compressed images become pixels.
_LARGEST_FILE_BYTES = 40 * 2**30


class CheckLost(Exception):
    """Somebody else has the check by now, or the worker is going away: stop and write nothing."""


@dataclass(frozen=True)
class _Upload:
    filename: str
    file: StoredFile


def check(kind: Kind, id_: str) -> None:
    """Check one upload, where nobody else is at it."""
    config = settings()
    with db.session() as session:
        claim = checks.claim_check(session, kind, id_, config.lease_s)
    if claim is None:
        return
    root = config.data_dir.resolve() / "work"
    lease = _Lease(claim)
    pulse = Pulse(lease.renew, config.heartbeat_s, CheckLost, look=lambda: None, look_s=config.watch_s)
    with work_folder(root, f"check-{claim.id}-{claim.attempt}") as workdir, pulse:
        lease.pulse = pulse
        try:
            _answer(claim, lease, workdir, config)
        except CheckLost:
            log.warning("%s: check %d is given up without a verdict", claim.id, claim.attempt)
            _let_go(claim)
        except Infra as failure:
            log.error("%s: check %d failed on this machine: %s", claim.id, claim.attempt, failure)  # noqa: TRY400


class _Lease:
    """The claim, renewed by its pulse."""

    def __init__(self, claim: CheckClaim) -> None:
        self._claim = claim
        self.pulse: Pulse

    def renew(self) -> None:
        """Extend the lease or raise CheckLost."""
        with db.session() as session:
            if not checks.renew(session, self._claim):
                raise CheckLost

    def check(self) -> None:
        """Raise CheckLost where there is no use in going on. At a drain too: a check is short and starts anew."""
        if self.pulse.is_lost or drain.requested():
            raise CheckLost


def _let_go(claim: CheckClaim) -> None:
    """End the lease now, where it is still ours, so that the next worker need not wait for its end."""
    with suppress(*OUTAGE), db.session() as session:
        checks.renew(session, replace(claim, lease_s=0.0))


def _answer(claim: CheckClaim, lease: _Lease, workdir: Path, config: Settings) -> None:
    _prepare(claim, lease, workdir)
    outcome = run_confined(workdir, limits=limits(config), tick=lease.check)
    _log_outcome(claim, outcome)
    stored = patiently("storing what was converted", lambda: _store(outcome), lease.check)
    is_written = patiently("the verdict", lambda: _finish(claim, outcome, stored), lease.check)
    if not is_written:
        raise CheckLost


def _prepare(claim: CheckClaim, lease: _Lease, workdir: Path) -> None:
    upload = patiently("reading the upload's row", lambda: _upload(claim), lease.check)
    patiently("fetching the upload", lambda: copy(upload.file, workdir / "upload", lease.check), lease.check)
    order = IntakeOrder(kind=_KINDS[claim.kind], spec=claim.spec, filename=upload.filename)
    (workdir / "order.json").write_text(order.model_dump_json())


def _upload(claim: CheckClaim) -> _Upload:
    with db.session() as session:
        row = session.get_one(Upload, claim.upload_id)
        return _Upload(row.filename, StoredFile(row.storage_key, row.sha256, row.size))


def limits(config: Settings) -> Limits:
    """What the converter may use: never more disk than leaves the machine its reserve."""
    free = shutil.disk_usage(config.data_dir).free - config.min_free_bytes
    return Limits(
        wall_s=config.check_max_seconds,
        memory_bytes=config.check_max_bytes,
        file_bytes=max(1, min(_LARGEST_FILE_BYTES, free)),
    )


def _store(outcome: Outcome) -> Stored | None:
    return storage().put_file(outcome.file) if outcome.result.ready and outcome.file is not None else None


def _finish(claim: CheckClaim, outcome: Outcome, stored: Stored | None) -> bool:
    # Written here and not by the converter, which the file may have taken over.
    result = outcome.result
    signed = result.model_copy(update={"report": {**result.report, "tools": _tools(claim.kind)}})
    with db.session() as session:
        return checks.finish_check(session, claim, signed, stored, found_out=outcome.verdict == "done")


@cache
def _tools(kind: Kind) -> dict[str, str]:
    """The packages that open such a file, with their versions."""
    return {name: version(name) for name in _OPENERS[kind]}


def _log_outcome(claim: CheckClaim, outcome: Outcome) -> None:
    for warning in outcome.warnings:
        log.warning("%s: %s", claim.id, warning)
    is_ready = "ready" if outcome.result.ready else "rejected"
    used = outcome.seconds, outcome.peak_bytes / 2**20
    log.info("%s: %s (%s) after %.1f s, %.0f MiB of memory", claim.id, is_ready, outcome.verdict, *used)
    if outcome.verdict != "done":
        log.warning("%s: the converter's last words:\n%s", claim.id, outcome.log)
