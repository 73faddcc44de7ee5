"""Tables of teachers' outputs: which go, which stay, and who may open them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from core.settings import Settings
from worker.engine.shelf import opened
from worker.shelves import cache_dir, trim

ROOT = Path(__file__).resolve().parents[2]
DAY_S = 86_400.0


def limits(data_dir: Path, **own: float) -> Settings:
    return Settings.model_validate({"data_dir": data_dir, **own})


def table(settings: Settings, name: str, days_ago: float = 0) -> Path:
    """A table of somewhat more than 4,000 bytes, used so long ago."""
    root = cache_dir(settings)
    assert root is not None
    with opened(root, {"name": name}, 2**20) as made:
        assert made is not None
        assert made.write(0, {"logits": torch.rand(1000)}, 0.5) > 4000
        folder = made._folder
    os.utime(folder, (time.time() - days_ago * DAY_S,) * 2)
    return folder


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    settings = limits(tmp_path)
    old, young = table(settings, "old", 8), table(settings, "young", 6)
    assert trim(settings) == 1
    assert (old.exists(), young.exists()) == (False, True)
    assert trim(settings) == 0


def test_those_that_were_used_the_longest_ago_make_room(tmp_path: Path) -> None:
    settings = limits(tmp_path, teacher_cache_bytes=9000)
    kept = [table(settings, str(days), days) for days in (3, 1, 2)]
    assert trim(settings) == 1
    assert [folder.exists() for folder in kept] == [False, True, True]
    with opened(tmp_path / "cache" / "teachers", {"name": "2"}, 2**20) as used:
        assert used is not None
        assert used.read(0) is not None
    table(settings, "new")
    trim(settings)
    assert [folder.exists() for folder in kept] == [False, False, True], "use counts, not age"


def test_one_that_is_in_use_stays(tmp_path: Path) -> None:
    settings = limits(tmp_path, teacher_cache_bytes=1)
    folder = table(settings, "used", 30)
    with opened(tmp_path / "cache" / "teachers", {"name": "used"}, 2**20) as used:
        assert used is not None
        os.utime(folder, (0, 0))
        assert trim(settings) == 0
        assert used.read(0) is not None
    assert trim(settings) == 1
    assert not folder.exists()


def test_none_are_kept_where_there_is_no_room_for_any(tmp_path: Path) -> None:
    table(limits(tmp_path), "a")
    nothing = limits(tmp_path, teacher_cache_bytes=0)
    assert cache_dir(nothing) is None
    assert trim(nothing) == 1


def test_a_table_that_was_removed_while_it_was_opened_is_made_anew(tmp_path: Path) -> None:
    settings = limits(tmp_path)
    folder = table(settings, "a", 30)
    assert trim(settings) == 1
    assert table(settings, "a") == folder
    assert (folder / "0.chunk").exists()


def test_the_converter_cannot_open_one(tmp_path: Path) -> None:
    folder = table(limits(tmp_path), "a")
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom worker.seal import seal\n"
        "told = [line for line in seal(Path.cwd()) if line.startswith('files')]\n"
        "try:\n    open(sys.argv[1], 'rb')\nexcept PermissionError:\n    sys.exit(7)\nsys.exit(8 if told else 0)"
    )
    env = {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    done = subprocess.run([sys.executable, "-P", "-c", code, str(folder / "0.chunk")], cwd=work, env=env, check=False)
    assert done.returncode in {7, 8}, "8: a platform without Landlock, where another user has to do"
