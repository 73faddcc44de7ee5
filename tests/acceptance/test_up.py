"""`make up`: stopped as a person stops it, nothing is left running, and the next start finds what was handed in."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scripts.client import Client

pytestmark = pytest.mark.acceptance

_ROOT = Path(__file__).resolve().parents[2]
_COMMAND = [sys.executable, "-m", "scripts.up"]


def _environment(data_dir: Path) -> dict[str, str]:
    return os.environ | {"DISTILLERY_DATA_DIR": str(data_dir), "DISTILLERY_PORT": "0", "PYTHONUNBUFFERED": "1"}


@contextmanager
def up(data_dir: Path) -> Iterator[str]:
    """The service's address; it is stopped by SIGINT and has to end well."""
    process = subprocess.Popen(_COMMAND, cwd=_ROOT, env=_environment(data_dir), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = next(line for line in process.stdout if line.startswith("Distillery runs:"))
        yield re.findall(r"(http://\S+)/docs", told)[0]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert rest.splitlines()[-1] == "Stopped. The data is kept."
    finally:
        process.kill()
        process.wait()


def _started_for(data_dir: Path) -> list[str]:
    """Commands of processes that were told of the folder, by their environment or their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if str(data_dir).encode() in told:
                    found.append((entry / "cmdline").read_bytes().decode())
    return found


def test_it_stops_cleanly_and_its_data_survives(tmp_path: Path) -> None:
    data_dir, file = tmp_path / "var", tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n")
    with up(data_dir) as url, Client(url) as client:
        upload = client.upload(file)
        assert _started_for(data_dir)
        second = subprocess.run(
            _COMMAND, cwd=_ROOT, env=_environment(data_dir), capture_output=True, text=True, check=False, timeout=60
        )
        assert second.returncode == 1
        assert "runs" in second.stderr or "running" in second.stderr
    assert _started_for(data_dir) == []
    with up(data_dir) as url, Client(url) as client:
        assert client.get(f"/uploads/{upload['id']}") == upload
    assert _started_for(data_dir) == []
