"""Small disks that can be filled: tmpfs in a mount namespace of this process, so that nothing is left behind."""

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x00020000


class Disks:
    """`why_not` says why there are none; otherwise `put` mounts them."""

    def __init__(self) -> None:
        self.why_not = _why_not()

    def put(self, folder: Path, megabytes: int) -> None:
        """Make the folder a disk of its own, where that can be done."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.why_not is None:
            subprocess.run(
                ["/bin/mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "chaos", str(folder)], check=True
            )


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """For the time of the block there is no room on the folder's disk."""
    ballast = folder / "tmp-ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        _fill(descriptor)
        yield
    finally:
        os.close(descriptor)
        ballast.unlink()


def _fill(descriptor: int) -> None:
    for size in (1 << 20, 1 << 12):
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _why_not() -> str | None:
    """Enter a mount namespace of our own; why that cannot be."""
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    private = subprocess.run(["/bin/mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    return f"no private mounts: {private.stderr.strip()}" if private.returncode else None
