"""Server processes of ours: started as children that end when we end, and found again when we were killed.

The kernel sends the death signal when the *thread* that started the child ends, so start servers from a thread that
lives as long as they should.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from core.errors import Unavailable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    arguments: Sequence[str | Path],
    *,
    home: Path,
    log: Path,
    death_signal: signal.Signals,
    user: pwd.struct_passwd | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in the folder `home`, its output appended to `log`; it gets `death_signal` when we end.

    It has a session of its own, so that Ctrl-C reaches us alone and we stop the servers in order.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=home,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent(death_signal),  # noqa: PLW1509 - it makes system calls and nothing else
            **as_user(user),
        )


def environment() -> Mapping[str, str]:
    """What a server sees of ours: the caller's locale, PG* and other variables would change how it behaves."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Identity(TypedDict):
    """The arguments of `subprocess` that say who the child is."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def as_user(user: pwd.struct_passwd | None) -> Identity:
    """Drop root for `user`; None stays who we are."""
    if user is None:
        return {"user": None, "group": None, "extra_groups": None}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _end_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call above
            os._exit(1)

    return bind


def stop(process: subprocess.Popen[bytes], polite: signal.Signals, patience_s: float) -> None:
    """Ask a child to end, wait, and kill it where it does not. Nothing happens where it has ended."""
    if process.poll() is None:
        process.send_signal(polite)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def stop_leftover(pid: int, home: Path, polite: signal.Signals, patience_s: float) -> None:
    """End a server that a killed run of ours left in the folder `home`.

    A pid is used again by the system, so it counts only where that process works in `home`.
    """
    if not _works_in(pid, home):
        return
    os.kill(pid, polite)
    until = time.monotonic() + patience_s
    while _works_in(pid, home):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _works_in(pid: int, home: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == home
    except OSError:
        return False


def wait_until_ready(
    name: str, process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool], patience_s: float
) -> None:
    """Return once `answers()`; raise Unavailable with the end of the log where the server dies or stays silent."""
    until = time.monotonic() + patience_s
    while not answers():
        if process.poll() is not None:
            raise Unavailable(f"{name} ended with {process.returncode} as it started. {tail(log)}", code="embedded")
        if time.monotonic() > until:
            raise Unavailable(f"{name} did not answer within {patience_s:.0f} s. {tail(log)}", code="embedded")
        time.sleep(0.05)


def tail(log: Path, num_bytes: int = 2000) -> str:
    """Where the log is and its last lines."""
    text = log.read_bytes()[-num_bytes:].decode(errors="replace") if log.exists() else ""
    return f"Its log {log} ends with:\n{text}"
