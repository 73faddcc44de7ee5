"""`make tus-test`: a large file goes up by a public tus client while its connection is cut and the API is killed.

Each way of breaking is a run of its own with the whole file; what arrives is compared by its SHA-256.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table
from tusclient.client import TusClient

from core import db
from core.embedded import Embedded
from scripts.bench_api.service import make_database, use_database
from scripts.tus.cut import Cutting
from worker import launch

_REPOSITORY = Path(__file__).resolve().parents[2]
_MOST_MB = 200

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Arrived:
    """One run. `again`: the bytes that went up more than once, as a share of the file."""

    seconds: float
    cuts: int
    kills: int
    again: float
    peak_mb: float
    whole: bool


class Api:
    """The API as a process that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.peak_mb = 0.0
        self.port = self._start()

    def _start(self) -> int:
        address = self._folder / "api.url"
        address.unlink(missing_ok=True)
        command = launch.command([sys.executable, "-m", "api.main"])
        self._process = subprocess.Popen(
            command, cwd=_REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy()
        )
        until = time.monotonic() + 60
        while not address.exists():
            assert self._process.poll() is None, "the API ended"
            assert time.monotonic() < until, "the API does not answer"
            time.sleep(0.02)
        return int(address.read_text().rpartition(":")[2])

    def kill(self) -> None:
        """SIGKILL, then a new one, at another port."""
        self._note()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.port = self._start()

    def stop(self) -> None:
        """End it."""
        self._note()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _note(self) -> None:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        self.peak_mb = max(self.peak_mb, int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def run(folder: Path, source: Path, cuts: int, kills: int) -> Arrived:
    """Hand the file in, with so many cuts and kills spread over it."""
    size = source.stat().st_size
    api = Api(folder)
    at = [size * n // (kills + 1) + size // 20 for n in range(1, kills + 1)]
    began_at = time.monotonic()
    with Cutting(api.port, [size * n // (cuts + 1) for n in range(1, cuts + 1)]) as proxy, source.open("rb") as file:
        client = TusClient(f"http://127.0.0.1:{proxy.port}/uploads/resumable")
        uploader = client.uploader(file_stream=file, metadata={"filename": source.name}, retries=200, retry_delay=0.2)
        sending = threading.Thread(target=uploader.upload)
        sending.start()
        for total in at:
            while sending.is_alive() and proxy.passed < total:
                time.sleep(0.005)
            api.kill()
            proxy.target = api.port
        sending.join()
    seconds = time.monotonic() - began_at
    upload = httpx.get(f"http://127.0.0.1:{api.port}/uploads/{str(uploader.url).rpartition('/')[2]}").json()
    api.stop()
    with source.open("rb") as file:
        whole = upload.get("sha256") == hashlib.file_digest(file, "sha256").hexdigest()
    return Arrived(seconds, proxy.cuts, len(at), proxy.passed / size - 1, api.peak_mb, whole)


def main() -> int:
    """Print the table; 1 where a file did not arrive whole, or the API took too much memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="64 MB in place of 1 GB")
    small = parser.parse_args().small
    size = (64 if small else 1024) << 20
    table = Table("1 file of", "connection cut", "API killed", "whole", "s", "MB/s", "sent again", "most memory, MB")
    good = True
    with tempfile.TemporaryDirectory(prefix="tus-test-") as name, Embedded(name) as (url, redis_url):
        folder = Path(name)
        use_database(make_database(url, "tus"), folder, redis_url)
        db.upgrade()
        source = folder / "source.bin"
        for number, (cuts, kills) in enumerate([(0, 0), (5, 0), (0, 2), (5, 2)]):
            _write(source, size, number)
            arrived = run(folder, source, cuts, kills)
            good &= arrived.whole and arrived.cuts == cuts and arrived.peak_mb < _MOST_MB
            table.add_row(
                f"{size >> 20:,} MB",
                str(arrived.cuts),
                str(arrived.kills),
                "yes" if arrived.whole else "NO",
                f"{arrived.seconds:.1f}",
                f"{(size >> 20) / arrived.seconds:.0f}",
                f"{arrived.again:.1%}",
                f"{arrived.peak_mb:.0f}",
            )
    console.print(table)
    return 0 if good else 1


def _write(path: Path, size: int, number: int) -> None:
    """Bytes that no earlier run has stored."""
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for index in range(size >> 20):
            file.write(bytes(f"{number} {index} ".encode()).ljust(64) + block[64:])


if __name__ == "__main__":
    sys.exit(main())
