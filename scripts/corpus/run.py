"""Hands files to the confined converter, in the way that a worker's check does but for HTTP, and sees what they did."""

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from models.work import IntakeOrder
from scripts.corpus.case import Canary, Case
from worker import confine, warm
from worker.confine import Outcome
from worker.intake_limits import Limits

#: Small enough that a bomb ends soon, large enough for what is good.
LIMITS = Limits(wall_s=40.0, memory_bytes=4 * 2**30, file_bytes=2**30, threads=1)
#: How much longer than the limit it may take to end a process and to clean up.
_SLACK_S = 30.0
#: What the converter's folder holds after a check; anything else was made by the file.
_KNOWN = {"order.json", "upload", "log.txt", "out", "scratch"}
_READY_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One file's end. touched: what of the canary was. over: the limit that was not kept."""

    case: Case
    outcome: Outcome
    touched: str | None
    over: str | None

    @property
    def is_ready(self) -> bool:
        """Whether it was accepted."""
        return self.outcome.result.ready

    @property
    def code(self) -> str:
        """Id of the check that failed, `ready` where none did."""
        return "ready" if self.is_ready else self._last["id"]

    @property
    def detail(self) -> str:
        """The sentence for the user."""
        return self._last["detail"]

    @property
    def _last(self) -> dict[str, str]:
        checks = self.outcome.result.report["checks"]
        assert isinstance(checks, list)
        found: dict[str, str] = checks[-1]
        return found

    def harm(self) -> str | None:
        """What may never be, whatever the file."""
        if self.touched:
            return f"the canary was touched: {self.touched}"
        return f"over a limit: {self.over}" if self.over else None

    def violation(self) -> str | None:
        """What is wrong with it; None where it ended as it has to."""
        if (harm := self.harm()) is not None:
            return harm
        if self.is_ready != (self.case.expected == "accepted"):
            return f"{'accepted' if self.is_ready else 'refused'}, and should be {self.case.expected}: {self.detail}"
        verdict = self.outcome.verdict
        if verdict == "crashed" or (verdict != "done" and not self.case.by_limit):
            return f"nobody but the parent refused it: {verdict}, {self.outcome.log[-300:]}"
        if not self.is_ready and len(self.detail.split()) < 5:
            return f"no sentence says what to do: {self.detail!r}"
        return None


class Bench:
    """A folder for checks, a canary that can be touched, and a listener that hears who calls."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._folder, self._listener = folder, listener
        self._outside = folder / "canary"
        self._outside.mkdir()
        self._outside.chmod(0o1777)  # the payload could write here if it ran, whoever it is
        self.canary = Canary("canary-inside", self._outside / "touched", listener.getsockname()[1])

    def check(self, case: Case, number: int) -> Seen:
        """One file, in a folder of its own."""
        workdir = self._folder / str(number)
        workdir.mkdir()
        (workdir / "upload").write_bytes(case.make())
        order = IntakeOrder(kind=case.kind, spec=dict(case.spec), filename="upload.bin")
        (workdir / "order.json").write_text(order.model_dump_json())
        outcome = confine.run_confined(workdir, limits=LIMITS)
        seen = Seen(case, outcome, self._touched(workdir), _over(workdir, outcome))
        shutil.rmtree(workdir)
        return seen

    def check_all(self, cases: Iterable[Case], at_once: int) -> Iterator[Seen]:
        """All of them, in order, some at once."""
        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(self.check, *zip(*((case, i) for i, case in enumerate(cases)), strict=True))

    def _touched(self, workdir: Path) -> str | None:
        strange = {path.name for path in workdir.iterdir()} - _KNOWN
        if strange:
            return f"in the converter's folder: {', '.join(sorted(strange))}"
        if any(self._outside.iterdir()):
            return "outside of the converter's folder"
        return "by the network" if self.was_called() else None

    def was_called(self) -> bool:
        """Whether somebody called the port since this was last asked."""
        called = False
        with suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                called = True
        return called


def _over(workdir: Path, outcome: Outcome) -> str | None:
    written = sum(path.stat().st_size for path in (workdir / "out").iterdir() if path.is_file())
    if outcome.seconds > LIMITS.wall_s + _SLACK_S:
        return f"{outcome.seconds:.0f} s"
    if outcome.peak_bytes > LIMITS.memory_bytes:
        return f"{outcome.peak_bytes} bytes of memory"
    return f"{written} bytes on the disk" if written > LIMITS.file_bytes else None


@contextmanager
def bench() -> Iterator[Bench]:
    """A bench with a spare converter, as a worker has one, which makes checks start in milliseconds."""
    environment = confine.environment(Path(os.devnull), LIMITS.threads)
    spares = warm.Spares({confine.MODULE: warm.Spare("worker.intake.preload", environment)}, "the corpus")
    spares.start()
    try:
        with tempfile.TemporaryDirectory(prefix="distillery-corpus-") as name, socket.socket() as listener:
            Path(name).chmod(0o711)
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            listener.setblocking(False)
            _wait()
            yield Bench(Path(name), listener)
    finally:
        spares.stop()


def _wait() -> None:
    """Until the spare answers: else the first checks would each load torch by themselves."""
    deadline = time.monotonic() + _READY_S
    with tempfile.TemporaryDirectory(prefix="distillery-corpus-") as name:
        (Path(name) / "upload").write_bytes(b"none")
        order = {"kind": "teacher", "spec": {"architecture": {"type": "onnx"}}, "filename": "none"}
        (Path(name) / "order.json").write_text(json.dumps(order))
        while confine.run_confined(Path(name), limits=LIMITS).seconds > 1.0:
            if time.monotonic() > deadline:
                raise RuntimeError("the spare converter does not start")
