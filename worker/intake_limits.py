"""What the check of one upload may use."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much one check may use: `threads` computing at once, `processes` counts all tasks of the child's user."""

    wall_s: float = 1800.0
    memory_bytes: int = 16 * 2**30
    file_bytes: int = 40 * 2**30
    threads: int = 2
    processes: int = 256
    open_files: int = 512

    @property
    def cpu_s(self) -> int:
        """CPU seconds: all threads busy all the time."""
        return math.ceil(self.wall_s * self.threads)
