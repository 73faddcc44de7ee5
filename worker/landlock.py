"""Which files a process may open from now on, by the kernel's Landlock: not all that its user may, but those it needs.

Without it the child that opens strangers' files could read whatever its user can, other people's uploads among it,
where it runs as the user of the service. Sources: landlock(7), include/uapi/linux/landlock.h.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# The same numbers on every platform.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
#: What a kernel of each version of the interface knows: 13 rights at first, then renaming, truncating, devices.
_KNOWN = {1: 2**13 - 1, 2: 2**14 - 1, 3: 2**15 - 1, 4: 2**15 - 1, 5: 2**16 - 1}
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _TRUNCATE
#: What can be said of a single file.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
#: Since version 4 no TCP, since version 6 no abstract sockets and no signals to processes outside.
_NO_TCP, _SCOPED = 3, 3


def restrict(libc: ctypes.CDLL, reads: Iterable[Path], writes: Iterable[Path]) -> str | None:
    """Let this process open only what lies in these folders (or is one of these files); why not, where it cannot be.

    The process must have given up new privileges before (prctl(2), PR_SET_NO_NEW_PRIVS).
    """
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return f"the kernel offers no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = _KNOWN[min(version, max(_KNOWN))]
    attr = struct.pack("=QQQ", handled, _NO_TCP, _SCOPED)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_CREATE, attr, ctypes.c_size_t(len(attr)), 0)
    if ruleset < 0:
        return f"Landlock gives no rules ({os.strerror(ctypes.get_errno())})"
    try:
        for path in reads:
            _allow(libc, ruleset, path, _READ & handled)
        for path in writes:
            _allow(libc, ruleset, path, (_READ | _WRITE) & handled)
        if libc.syscall(_RESTRICT, ruleset, 0) != 0:
            return f"Landlock could not be switched on ({os.strerror(ctypes.get_errno())})"
    finally:
        os.close(ruleset)
    return None


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """What does not exist, or cannot be reached, needs no rule."""
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & _OF_FILES
        libc.syscall(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, place), 0)
        # A rule is about the file that was found. Only while somebody holds it does /proc give the same one again.
        if path.parts[:2] != ("/", "proc"):
            os.close(place)
