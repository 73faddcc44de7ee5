"""What `ps` shows of a process: a fork has the command line of whom it was forked from until it says otherwise.

The kernel shows the memory where it put the arguments at exec (proc(5), arg_start and arg_end), and no more of it. A
program that wants to be called something longer is therefore started with ROOM as its last argument.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

ROOM = "." * 1024


def entitle(words: Sequence[str]) -> None:
    """Be shown with these arguments, as many of their letters as there is room for."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if not start:  # the kernel does not tell
        return
    text = "".join(f"{word}\0" for word in words).encode()[: end - start - 1]
    # Python has copies of its own of what stood there.
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
