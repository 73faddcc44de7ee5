"""The confined child that opens users' files: how it is started, watched and ended.

`python -m worker.intake WORKDIR` runs in its own session, without network, secrets or privileges, under limits of
memory, CPU time, file size, processes and wall-clock time (worker/jail.py, worker/seal.py, docs/security.md). A limit
that is reached is a verdict that says so. The child may have been taken over by the file that it read: nothing that it
wrote is followed, executed or taken at its word (worker/answer.py).
"""

import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import BinaryIO

from core.errors import Infra
from models.canonical import CheckLine
from models.work import IntakeOrder, IntakeResult
from worker import jail, warm
from worker.answer import Verdict, judge
from worker.child import Child, Ended, Running
from worker.intake_limits import Limits

#: The converter's door.
MODULE = "worker.intake"
_CODE = Path(__file__).resolve().parents[1]
#: Seconds between two looks at the child; at first looks are closer, for a check may take milliseconds.
_FIRST_WATCH_S, _WATCH_S = 0.002, 0.05
_LOG_TAIL_BYTES = 16 * 2**10
#: User ids that neither Debian nor systemd hands out. Children that run at once get different ones: no signals.
_UIDS = range(60_578, 61_178)
#: What the jail and the seal may not be able to take away, by the word in front of their warnings.
_PARTS = {
    "network": "network",
    "user": "the user of the service",
    "files": "other files",
    "system_calls": "unneeded system calls",
}


@dataclass(frozen=True)
class Outcome:
    """How it ended. `file` is the canonical file, known to be a plain file of its own; the rest is for operators.

    warnings: what the platform could not take away from the child, `part: why`. peak_bytes: its memory at most.
    """

    verdict: Verdict
    result: IntakeResult
    file: Path | None = None
    warnings: list[str] = field(default_factory=list)
    log: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


def run_confined(workdir: Path, *, limits: Limits | None = None, tick: Callable[[], None] | None = None) -> Outcome:
    """Run the converter on WORKDIR/order.json and WORKDIR/upload; see models.work.IntakeOrder.

    `tick` is called twenty times a second and more often; what it raises ends the child and passes through.
    """
    limits = limits or Limits()
    workdir = workdir.resolve()
    # Read before the child can write another one.
    kind = IntakeOrder.model_validate_json((workdir / "order.json").read_bytes()).kind
    started = time.monotonic()
    with _user() as (uid, warnings), _scratch(uid) as scratch, (workdir / "log.txt").open("w+b") as log:
        _hand_over(workdir, uid)
        try:
            ended, refused = _run(MODULE, workdir, scratch, limits, uid, log, tick)
        finally:
            _take_back(workdir, uid)
        tail = _tail(log)
    verdict, result, file = judge(workdir, kind, ended.exit_code if ended else None, tail, limits)
    warnings += refused
    seconds, peak_bytes = time.monotonic() - started, ended.peak_bytes if ended else 0
    return Outcome(verdict, _with_line(result, warnings), file, warnings, tail, seconds, peak_bytes)


def gaps() -> list[str]:
    """What this machine cannot take away from a confined child, as Outcome.warnings; found out by confining one."""
    limits = Limits(wall_s=60)
    with _user() as (uid, warnings), _scratch(uid) as scratch, (scratch / "log").open("w+b") as log:
        ended, refused = _run("worker.seal", scratch, scratch, limits, uid, log, None)
        if ended is None or ended.exit_code != 0:
            raise Infra(f"A confined process does not start on this machine: {_tail(log)[-500:]}", code="no_jail")
        return warnings + refused


def _with_line(result: IntakeResult, warnings: list[str]) -> IntakeResult:
    """The verdict with how the file was opened as its first check. Paths are for the log, not for users."""
    missing = [words for part, words in _PARTS.items() if any(line.startswith(f"{part}:") for line in warnings)]
    line = CheckLine(id="confined", result="pass", detail="the file was opened in a confined process")
    if missing:
        detail = f"{line.detail}, from which this machine could not take away: {', '.join(missing)}"
        line = CheckLine(id="confined", result="warn", detail=detail)
    found = result.report["checks"]
    assert isinstance(found, list), "worker.answer has seen to it"
    return result.model_copy(update={"report": {**result.report, "checks": [line.model_dump(), *found]}})


def _run(
    module: str,
    workdir: Path,
    scratch: Path,
    limits: Limits,
    uid: int | None,
    log: BinaryIO,
    tick: Callable[[], None] | None,
) -> tuple[Ended | None, list[str]]:
    """The end (None: out of time) and what the platform refused."""
    reader, writer = os.pipe()
    plan = jail.Jail(
        parent=os.getpid(),
        warnings_fd=writer,
        uid=uid,
        memory_bytes=limits.memory_bytes,
        cpu_s=limits.cpu_s,
        file_bytes=limits.file_bytes,
        processes=limits.processes + (_tasks_of(os.getuid()) if uid is None else 0),
        open_files=limits.open_files,
        hands_on=True,
    )
    with os.fdopen(reader, errors="replace") as refused:
        try:
            child = _start(module, plan, workdir, environment(scratch, limits.threads), log)
        finally:
            os.close(writer)
        ended = _watch(child, limits.wall_s, tick)
        return ended, refused.read(10_000).splitlines()


def _start(module: str, plan: jail.Jail, workdir: Path, env: dict[str, str], log: BinaryIO) -> Running:
    """The module in its jail, out of the spare where there is one."""
    # "." because an unprivileged user may not be allowed to walk down to the folder.
    arguments = [".", str(plan.warnings_fd)]
    if (forked := warm.fork(module, arguments, cwd=workdir, env=env, log=log.fileno(), jail=plan)) is not None:
        return forked
    # -P: the folder with the user's file is never on the import path.
    command = jail.command(plan, [sys.executable, "-P", "-B", "-m", module, *arguments])
    return Child(command, cwd=workdir, env=env, log=log.fileno(), pass_fds=[plan.warnings_fd])


def _watch(child: Running, wall_s: float, tick: Callable[[], None] | None) -> Ended | None:
    deadline, pause_s = time.monotonic() + wall_s, _FIRST_WATCH_S
    try:
        while (ended := child.poll()) is None:
            if time.monotonic() >= deadline:
                return None
            if tick is not None:
                tick()
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, _WATCH_S)
        return ended
    finally:
        child.kill()


def environment(scratch: Path, threads: int) -> dict[str, str]:
    """All that the child sees of the environment: nothing that names a database, a broker, a bucket or a key."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_CODE),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "USER": "intake",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(threads),
        # Each arena of the allocator reserves address space, which is what is limited.
        "MALLOC_ARENA_MAX": "2",
    }


@contextmanager
def _user() -> Iterator[tuple[int | None, list[str]]]:
    """Who the child becomes where we are root, and why nobody where that cannot work."""
    if os.geteuid() != 0:
        yield None, []
        return
    needed = (sys.executable, sys.prefix, sys.base_prefix, _CODE / "worker" / "intake" / "__main__.py")
    for path in needed:
        if (closed := closed_to_others(Path(path))) is not None:
            yield None, [f"user: the child stays root, without capabilities: an ordinary user cannot read {closed}"]
            return
    with _free_uid() as uid:
        yield uid, []


@contextmanager
def _free_uid() -> Iterator[int]:
    """A user id that no other check on this machine uses: held by binding an abstract socket named for it."""
    for uid in _UIDS:
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0distillery-intake-{uid}")
            except OSError:
                continue
            yield uid
            return
    raise Infra("More checks run at once than there are user ids for them.", code="no_user")


@contextmanager
def _scratch(uid: int | None) -> Iterator[Path]:
    """A folder for what libraries keep by absolute path; the work folder may lie where the child cannot walk to."""
    with tempfile.TemporaryDirectory(prefix="distillery-intake-") as folder:
        if uid is not None:
            os.chown(folder, uid, uid)
        yield Path(folder)


def closed_to_others(path: Path) -> Path | None:
    """The first of the path and its parents that an ordinary user may not enter or read; links are followed."""
    for start in (path, path.resolve()):
        for part in (*reversed(start.parents), start):
            wanted = stat.S_IXOTH if part.is_dir() else stat.S_IROTH
            if not part.stat().st_mode & wanted:
                return part
    return None


def _tasks_of(uid: int) -> int:
    """Processes and threads of a user: RLIMIT_NPROC counts them all, ours included."""
    total = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                total += len(list((entry / "task").iterdir()))
    return total


def _hand_over(workdir: Path, uid: int | None) -> None:
    """The child reads the order and the upload, and writes to out/; a file shared with the store is copied first."""
    (workdir / "out").mkdir(exist_ok=True)
    if uid is None:
        return
    for name in ("order.json", "upload"):
        path = workdir / name
        if path.stat().st_nlink > 1:
            shutil.copyfile(path, workdir / "copy")
            (workdir / "copy").replace(path)
        path.chmod(0o444)
    for folder in (workdir, workdir / "out"):
        os.chown(folder, uid, uid)
        folder.chmod(0o700)


def _take_back(workdir: Path, uid: int | None) -> None:
    """End what the child started in sessions of its own (its user id is used by nothing else), own the folder again."""
    if uid is None:
        return
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"\nUid:\t{uid}\t" in (entry / "status").read_text():
                os.kill(int(entry.name), SIGKILL)
    for path in (workdir, workdir / "out"):
        with suppress(FileNotFoundError):
            os.chown(path, 0, 0, follow_symlinks=False)


def _tail(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_BYTES))
    return log.read().decode(errors="replace")
