"""The confined child that opens users' files: how it is started, watched, ended, and what of its answer is believed.

`python -m worker.intake WORKDIR` runs in its own session, without network, secrets or privileges, under limits of
memory, CPU time, file size, processes and wall-clock time (worker/jail.py, docs/teachers.md). A limit that is reached
is a verdict that says so. The child may have been taken over by the file that it read: nothing that it wrote is
followed, executed or taken at its word here.
"""

import math
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import ValidationError

from core.errors import Infra
from models.work import IntakeExit, IntakeResult
from worker import jail

Verdict = Literal["done", "too_much_memory", "too_much_disk", "too_slow", "crashed"]

_CODE = Path(__file__).resolve().parents[1]
#: Seconds between two looks at the child.
_WATCH_S = 0.05
_MAX_RESULT_BYTES = 64 * 2**20
_LOG_TAIL_BYTES = 16 * 2**10
#: User ids that neither Debian nor systemd hands out. Children that run at once get different ones: no signals.
_UIDS = range(60_578, 61_178)


@dataclass(frozen=True)
class Limits:
    """How much one check may use: `threads` computing at once, `processes` counts all tasks of the child's user."""

    wall_s: float = 1800.0
    memory_bytes: int = 16 * 2**30
    file_bytes: int = 40 * 2**30
    threads: int = 2
    processes: int = 256
    open_files: int = 512

    @property
    def cpu_s(self) -> int:
        """CPU seconds: all threads busy all the time."""
        return math.ceil(self.wall_s * self.threads)


@dataclass(frozen=True)
class Outcome:
    """How it ended. `file` is the canonical file, known to be a plain file of its own; `log` is for operators."""

    verdict: Verdict
    result: IntakeResult
    file: Path | None = None
    warnings: list[str] = field(default_factory=list)
    log: str = ""
    seconds: float = 0.0


def run_confined(workdir: Path, *, limits: Limits | None = None, tick: Callable[[], None] | None = None) -> Outcome:
    """Run the converter on WORKDIR/order.json and WORKDIR/upload; see models.work.IntakeOrder.

    `tick` is called about twenty times a second; what it raises ends the child and passes through.
    """
    limits = limits or Limits()
    workdir = workdir.resolve()
    started = time.monotonic()
    with _user() as (uid, warnings), _scratch(uid) as scratch, (workdir / "log.txt").open("w+b") as log:
        _hand_over(workdir, uid)
        try:
            exit_code, refused = _run(workdir, scratch, limits, uid, log, tick)
        finally:
            _take_back(workdir, uid)
        tail = _tail(log)
    verdict, result, file = judge(workdir, exit_code, tail, limits)
    return Outcome(verdict, result, file, warnings + refused, tail, time.monotonic() - started)


def _run(
    workdir: Path, scratch: Path, limits: Limits, uid: int | None, log: BinaryIO, tick: Callable[[], None] | None
) -> tuple[int | None, list[str]]:
    """Exit code (None: out of time) and what the platform refused."""
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
    )
    with os.fdopen(reader) as refused:
        try:
            child = subprocess.Popen(
                # -P: the folder with the user's file is never on the import path. The path is "." because an
                # unprivileged user may not be allowed to walk down to it.
                jail.command(plan, [sys.executable, "-P", "-B", "-m", "worker.intake", "."]),
                cwd=workdir,
                env=environment(scratch, limits.threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                start_new_session=True,
            )
        finally:
            os.close(writer)
        exit_code = _watch(child, limits.wall_s, tick)
        return exit_code, refused.read(10_000).splitlines()


def _watch(child: subprocess.Popen[bytes], wall_s: float, tick: Callable[[], None] | None) -> int | None:
    deadline = time.monotonic() + wall_s
    try:
        # Looked at without reaping: until then the id, and so the group, is surely the child's.
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= deadline:
                return None
            if tick is not None:
                tick()
            time.sleep(_WATCH_S)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return child.returncode


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
            yield None, [f"the child stays root, without capabilities: an ordinary user cannot read {closed}"]
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
                os.kill(int(entry.name), signal.SIGKILL)
    for path in (workdir, workdir / "out"):
        with suppress(FileNotFoundError):
            os.chown(path, 0, 0, follow_symlinks=False)


def judge(workdir: Path, exit_code: int | None, log: str, limits: Limits) -> tuple[Verdict, IntakeResult, Path | None]:
    """What the end of the child means: exit code (None: out of time), the end of its log, what it left in out/."""
    if exit_code == IntakeExit.DONE and (answer := _answer(workdir)) is not None:
        return "done", *answer
    verdict, detail = _reason(exit_code, log, limits)
    line = {"id": verdict, "result": "fail", "detail": detail}
    return verdict, IntakeResult(ready=False, report={"checks": [line]}), None


def _reason(exit_code: int | None, log: str, limits: Limits) -> tuple[Verdict, str]:
    if exit_code is None or exit_code == -signal.SIGXCPU:
        return "too_slow", f"The check did not end within {limits.wall_s:,.0f} s. Hand in a smaller file."
    out_of_memory = exit_code == -signal.SIGABRT and "bad_alloc" in log
    if exit_code in (IntakeExit.MEMORY, -signal.SIGKILL) or out_of_memory:
        gib = limits.memory_bytes / 2**30
        return "too_much_memory", f"The check needs more than the {gib:,.1f} GiB of memory that it may use."
    if exit_code in (IntakeExit.DISK, -signal.SIGXFSZ):
        gib = limits.file_bytes / 2**30
        return "too_much_disk", f"The file unpacks to more than the {gib:,.1f} GiB that one file may have."
    return (
        "crashed",
        "The program that reads the file broke down. The file may be damaged: write it again and upload it anew.",
    )


def _answer(workdir: Path) -> tuple[IntakeResult, Path | None] | None:
    """What the child answered; None where it makes no sense."""
    path = _plain(workdir, "result.json")
    if path is None or path.stat().st_size > _MAX_RESULT_BYTES:
        return None
    try:
        result = IntakeResult.model_validate_json(path.read_bytes())
    except ValidationError:
        return None
    file = _plain(workdir, result.file) if result.file is not None else None
    return None if result.ready and file is None else (result, file)


def _plain(workdir: Path, name: str) -> Path | None:
    """The file of that name in out/, where it is a regular file and no link of any kind, and out/ neither."""
    path = workdir / "out" / name
    try:
        folder, file = os.lstat(path.parent), os.lstat(path)
    except (OSError, ValueError):
        return None
    genuine = stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(file.st_mode) and file.st_nlink == 1
    return path if genuine and Path(name).name == name else None


def _tail(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_BYTES))
    return log.read().decode(errors="replace")
