"""Work folders of the living stay; what the dead left goes."""

import os
import time
from pathlib import Path

from worker.folders import remove_leftovers, work_folder


def age(path: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


def test_a_folder_is_fresh_private_and_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "job-1").mkdir()
    (tmp_path / "job-1" / "old").touch()
    with work_folder(tmp_path, "job-1") as folder:
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "file").touch()
    age(tmp_path / "dead")
    with work_folder(tmp_path, "alive") as folder:
        age(folder)
        assert remove_leftovers(tmp_path) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["alive"]


def test_one_that_is_just_being_made_stays(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert remove_leftovers(tmp_path) == 0
    assert remove_leftovers(tmp_path / "nowhere") == 0
