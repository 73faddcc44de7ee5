"""What runs on this machine for a service, as /proc tells it."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

#: Seconds of the service under test, short so that a test can wait for the end of a lease.
LEASE_S, SWEEP_S, CHECKPOINT_S = 5.0, 0.5, 0.5

Found = TypeVar("Found")


def engine_of(job_id: str) -> int | None:
    """The pid of the process that trains the job."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode().split("\0") if entry.name.isdigit() else []
            if "worker.engine.run" in command and any(f"/{job_id}-" in part for part in command):
                return int(entry.name)
    return None


def parent_of(pid: int) -> int:
    """Who started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_running(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(look: Callable[[], Found], patience_s: float = 30.0) -> Found:
    """The first answer that is true."""
    until = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < until, f"nothing within {patience_s} s"
        time.sleep(0.05)
    return found


def seen(events: list[dict[str, Any]], type_: str) -> list[dict[str, Any]]:
    """The data of all events of a type."""
    return [event["data"] for event in events if event["type"] == type_]
