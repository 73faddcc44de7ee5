"""A child that cannot outlive its parent: `python launch.py PARENT_PID COMMAND...` becomes COMMAND.

The kernel sends SIGKILL when the *thread* that started this process ends (prctl(2), PR_SET_PDEATHSIG), so start it from
a thread that lives as long as the work. The wish survives execve, which is why it is made here, in the child, rather
than between fork and exec of a parent with threads.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def command(args: list[str]) -> list[str]:
    """The command line that runs `args` bound to the calling process."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *args]


def become(parent: int, args: list[str]) -> None:
    """Bind this process to `parent` and turn into `args`. No core files: they would hold the user's data."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the wish was made
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(args[0], args)  # noqa: S606 - the list is ours


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
