"""Which processes there are, by what stands in their command lines."""

import time
from collections.abc import Callable
from pathlib import Path


def running(text: str) -> list[int]:
    """Processes whose command line holds the text. One that has ended and waits to be reaped has none."""
    wanted = text.encode()
    return [pid for pid in _all() if wanted in _read(pid, "cmdline")]


def parent_of(pid: int) -> int | None:
    """The parent's id; None where the process is gone."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return bool(fields) and fields[0] != b"Z"


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    parents = {each: parent_of(each) for each in _all()}
    found = [pid]
    for parent in found:
        found += [each for each, of in parents.items() if of == parent]
    return found


def wait_until(condition: Callable[[], object], seconds: float, look_s: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(look_s)
    return True


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
