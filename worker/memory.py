"""Was it the kernel that killed our child for memory? Read before a child starts and again after it was killed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")

#: A child that held less than this share of the memory is not the one that was too big.
_LARGE = 0.5


@dataclass(frozen=True)
class Memory:
    """Memory that this process may use, in bytes, and how often the kernel has killed for it so far."""

    limit: int
    kills: int

    @classmethod
    def now(cls) -> Self:
        """The state of this machine, or of the container that we are in."""
        return cls(_limit(), _kills())

    def explains(self, peak_bytes: int) -> bool:
        """True where the kernel has killed since, and a child that held `peak_bytes` is a likely victim."""
        return _kills() > self.kills and self.is_large(peak_bytes)

    def is_large(self, peak_bytes: int) -> bool:
        """True where `peak_bytes` is a large share of what there is."""
        return peak_bytes > _LARGE * self.limit


def _limit() -> int:
    """The machine's memory, or the container's share of it (cgroup v2 or v1)."""
    limits = [int(_field(Path("/proc/meminfo"), r"^MemTotal:\s+(\d+) kB") or 0) * 1024]
    limits += [int(_field(path, r"^(\d+)$") or 0) for path in _CGROUP_LIMITS]
    return min(limit for limit in limits if limit)


def _kills() -> int:
    """The container's count where there is one (cgroup v2), else that of the machine."""
    found = _field(_CGROUP_EVENTS, r"^oom_kill (\d+)") or _field(Path("/proc/vmstat"), r"^oom_kill (\d+)")
    return int(found or 0)


def _field(path: Path, pattern: str) -> str | None:
    if not path.is_file():
        return None
    match = re.search(pattern, path.read_text(), flags=re.MULTILINE)
    return match[1] if match else None
