"""The script behind `make tus-test`: an upload survives a cut connection and a killed API process."""

import os
from pathlib import Path

from core.settings import settings
from scripts.tus.__main__ import run


def test_an_upload_survives_a_cut_and_a_kill(database: str, redis_url: str, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(24 << 20))
    folder = settings().data_dir
    folder.mkdir(parents=True, exist_ok=True)
    arrived = run(folder, source, cuts=1, kills=1)
    assert arrived.whole
    assert (arrived.cuts, arrived.kills) == (1, 1)
    assert arrived.peak_mb < 200
