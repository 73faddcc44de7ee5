"""Every format of the menu has its reader, and every reader is on the menu."""

from pathlib import Path
from typing import get_args

import pytest

import worker.readers
from models.spec.data import Format
from worker.intake.reading import reader

FORMATS = [name for name in get_args(Format) if name != "auto"]


def test_files_and_menu_agree() -> None:
    [folder] = worker.readers.__path__
    assert sorted(path.stem for path in Path(folder).glob("*.py") if path.stem != "__init__") == sorted(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader_gives_images_sounds_or_a_table(name: str) -> None:
    module = reader(name)
    assert module.__doc__
    assert any(hasattr(module, f"read_{form}") for form in ("images", "sounds", "table"))


def test_no_two_readers_want_the_same_files() -> None:
    assert len({reader(name).KIND for name in FORMATS}) == len(FORMATS)
