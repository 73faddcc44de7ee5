"""The tables of teachers' outputs that jobs of this host share, removed by age and size; never one that is in use.

A table is a folder (worker/engine/shelf.py). Who uses it holds a shared lock on it and sets its time at the start.
"""

import fcntl
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Table:
    folder: Path
    size: int
    used_at: float


def cache_dir(settings: Settings) -> Path | None:
    """Where the tables lie; None where none are to be kept."""
    return settings.data_dir.resolve() / "cache" / "teachers" if settings.teacher_cache_bytes else None


def trim(settings: Settings) -> int:
    """Remove tables that were not used for `teacher_cache_keep_s`, then those that were used the longest ago until the
    rest takes no more than `teacher_cache_bytes`; how many went."""
    root = settings.data_dir.resolve() / "cache" / "teachers"
    tables = sorted(_tables(root), key=lambda table: table.used_at)
    total, oldest = sum(table.size for table in tables), time.time() - settings.teacher_cache_keep_s
    removed = 0
    for table in tables:
        if (table.used_at < oldest or total > settings.teacher_cache_bytes) and _removed(table.folder):
            total -= table.size
            removed += 1
    if removed:
        log.info("removed %d tables of teachers' outputs", removed)
    return removed


def _tables(root: Path) -> list[_Table]:
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):  # another worker of this host may be at it
            size = sum(path.stat().st_size for path in folder.iterdir())
            found.append(_Table(folder, size, folder.stat().st_mtime))
    return found


def _removed(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
