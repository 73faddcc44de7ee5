"""A child that ties its own hands: `python jail.py JSON COMMAND...` gives up what it may do and becomes COMMAND.

It runs between fork and exec of a confined child, as a program of its own: a parent with threads must not run Python
there. What the platform refuses is written, `part: why` a line, to the file descriptor that the JSON names, and the
rest goes on: a container often forbids new namespaces. Never more than the parent's rights are needed.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

# prctl(2), unshare(2), capabilities(7)
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITIES = 64
_CAPABILITY_VERSION_3 = 0x20080522

#: Seconds between the soft limit on CPU time, whose signal says what happened, and the hard one.
_CPU_GRACE_S = 5


@dataclass(frozen=True)
class Jail:
    """What the child gives up: `uid` is the user to become (None: stays), the rest are rlimits in bytes and seconds.

    hands_on: the program has warnings of its own to write, so the file descriptor stays open for it.
    """

    parent: int
    warnings_fd: int
    uid: int | None
    memory_bytes: int
    cpu_s: int
    file_bytes: int
    processes: int
    open_files: int
    hands_on: bool = False


def command(jail: Jail, args: list[str]) -> list[str]:
    """The command line that runs `args` in the jail."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), json.dumps(asdict(jail)), *args]


def enter(jail: Jail, args: list[str]) -> None:
    """Give everything up and become `args`."""
    give_up(jail)
    os.execv(args[0], args)  # noqa: S606 - the list is ours


def give_up(jail: Jail) -> None:
    """Give everything up, in the order in which it is still allowed to. For a process with one thread.

    The kernel takes network and privileges from the thread that asks, not from its siblings.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Where memory runs out, the kernel ends this process and not a database. First: a change of user would forbid it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    warnings = [_without_network(libc), *_without_privileges(libc, jail.uid)]
    _limit(jail)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities(libc)
    # Last: a change of user clears the wish.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != jail.parent:  # it died before the wish was made
        sys.exit(1)
    os.write(jail.warnings_fd, "".join(f"{line}\n" for line in warnings if line).encode())
    if not jail.hands_on:
        os.close(jail.warnings_fd)
    os.umask(0o077)


def _without_network(libc: ctypes.CDLL) -> str | None:
    """New, empty namespaces for network and IPC; an ordinary user needs a user namespace to be allowed to."""
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNET | _CLONE_NEWIPC
    if libc.unshare(flags if uid == 0 else flags | _CLONE_NEWUSER) != 0:
        return f"network: it could not be taken away ({os.strerror(ctypes.get_errno())})"
    if uid != 0:
        with suppress(OSError):  # unmapped, the child is just called nobody
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return None


def _without_privileges(libc: ctypes.CDLL, uid: int | None) -> list[str]:
    """No capability can come back; from root to an ordinary user where there is one to become."""
    if os.geteuid() != 0:
        return []
    for capability in range(_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if uid is None:
        return []
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        return [f"user: the child stays root, {uid} cannot be taken on ({error.strerror})"]
    return []


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Those in force too: exec would take them, and a fork of a spare makes none."""
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset failed")


def _limit(jail: Jail) -> None:
    for which, soft, hard in (
        (resource.RLIMIT_AS, jail.memory_bytes, jail.memory_bytes),
        (resource.RLIMIT_CPU, jail.cpu_s, jail.cpu_s + _CPU_GRACE_S),
        (resource.RLIMIT_FSIZE, jail.file_bytes, jail.file_bytes),
        (resource.RLIMIT_NPROC, jail.processes, jail.processes),
        (resource.RLIMIT_NOFILE, jail.open_files, jail.open_files),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        ceiling = resource.getrlimit(which)[1]
        cut = (min(value, ceiling) if ceiling != resource.RLIM_INFINITY else value for value in (soft, hard))
        resource.setrlimit(which, tuple(cut))  # type: ignore[arg-type]


if __name__ == "__main__":
    enter(Jail(**json.loads(sys.argv[1])), sys.argv[2:])
