"""Work folders: one for each attempt or check, locked while its owner lives: what a killed one left can be told."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Younger ones may not have been locked yet by whoever is making them.
_JUST_MADE_S = 5.0


@contextmanager
def work_folder(root: Path, name: str) -> Iterator[Path]:
    """A fresh folder `root`/`name`, removed at the end of the block."""
    path = root / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def remove_leftovers(root: Path) -> int:
    """Remove the folders under `root` whose owners are gone; how many there were."""
    return sum(_remove_if_left(path) for path in root.iterdir() if path.is_dir()) if root.is_dir() else 0


def _remove_if_left(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(handle).st_mtime < _JUST_MADE_S:
            return False
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(handle)
