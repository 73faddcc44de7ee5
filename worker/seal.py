"""The last thing that a process gives up before it opens a stranger's file: nearly all files and many system calls.

The jail (worker/jail.py) comes before the program, this comes in it: once Python runs it needs no other program, no
socket and no folder but its own code, the upload's and a scratch folder. What the platform does not offer is told,
and the rest goes on. `python -m worker.seal WORKDIR DESCRIPTOR` only tells.
"""

import ctypes
import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from worker import landlock, syscalls

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1

_CODE = Path(__file__).resolve().parents[1]
#: What the libraries read: themselves, the C library's tables, facts on the machine. Not the service's data, and not
#: /proc, where other processes' environments stand.
_READS = (
    *(_CODE / name for name in ("core", "models", "worker")),
    *(Path(entry) for entry in (sys.prefix, sys.base_prefix)),
    *(Path("/", entry) for entry in ("usr", "lib", "lib64", "etc", "sys", "dev")),
    *(Path("/proc", entry) for entry in ("self", "cpuinfo", "meminfo", "stat", "filesystems", "sys")),
)
_PACKAGES = Path(sysconfig.get_path("purelib"))


def seal(workdir: Path) -> list[str]:
    """Give up all but `workdir`, the scratch folder and what libraries read. Lines `part: why not` for the rest."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Some installers link to packages that lie elsewhere, and it is the place that is allowed, not the name.
    linked = [entry.resolve() for entry in _PACKAGES.iterdir() if entry.is_symlink()]
    files = landlock.restrict(libc, [*_READS, *linked], [workdir, Path(tempfile.gettempdir()), Path(os.devnull)])
    calls = _filter(libc)
    return [f"{part}: {why}" for part, why in (("files", files), ("system_calls", calls)) if why]


def seal_and_tell(workdir: Path, descriptor: int) -> None:
    """Seal, and write the lines to a file descriptor, which is closed."""
    with os.fdopen(descriptor, "w", closefd=descriptor > sys.stderr.fileno()) as told:
        told.writelines(f"{line}\n" for line in seal(workdir))


def _filter(libc: ctypes.CDLL) -> str | None:
    machine = syscalls.PLATFORMS.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        return f"there is no filter for this processor ({os.uname().machine})"
    code = syscalls.program(machine, os.getpid())
    filters = _Program(len(code) // 8, code)
    if libc.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(filters)) != 0:
        return f"the kernel takes no filter ({os.strerror(ctypes.get_errno())})"
    return None


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


if __name__ == "__main__":
    seal_and_tell(Path(sys.argv[1]), int(sys.argv[2]))
