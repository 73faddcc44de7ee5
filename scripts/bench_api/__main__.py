"""`make bench-api`: the service's own paths, each beside the least that anybody could do, in one run."""

import argparse
import hashlib
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.embedded import Embedded
from scripts.bench_api import listening, listing, moving, polling
from scripts.bench_api.service import fill, make_database, serving, use_database

_POLLING, _LISTING, _DELAY_S, _PEAK_MB = 0.7, 1.3, 1.0, 200

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Print the table; 1 where CHECK=1 asks for more than was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="100,000 jobs and 200 MB in place of 1,000,000 and 2 GB")
    parser.add_argument("--check", action="store_true", help="end with 1 where a stated figure is missed")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder:
        return int(not _run(Path(folder), small=told.small) and told.check)


def _run(folder: Path, *, small: bool) -> bool:
    """Whether all that is stated was reached."""
    many, size, rounds = (100_000, 200 * 2**20, 3) if small else (1_000_000, 2 * 2**30, 5)
    with Embedded(folder) as (url, redis_url), ExitStack() as stack:
        for name, number in (("many", many), ("few", 1000)):
            use_database(make_database(url, f"bench_{name}"), folder, redis_url)
            console.print(f"{number:,} jobs are stored ...")
            job_id = fill(number)
            server = stack.enter_context(serving("api.main"))
            if name == "many":
                large = server
        bare = stack.enter_context(serving("scripts.bench_api.bare"))
        plain, polls, whole, ratio = polling.measure(server, bare, job_id, rounds, 1.0 if small else 3.0)
        few_ms, many_ms = listing.measure(server, large, 4 if small else 20)
        half_s, late_s, each_kb = listening.measure(server, 1000, 6 if small else 20)
        moved = moving.measure(server, folder, size, 2 if small else 3)
        peak = server.megabytes("VmHWM")
    table = Table("what", "measured", "beside", "ratio", "stated")
    table.add_row("polls a second, unchanged", f"{polls:.0f}", f"{plain:.0f} bare", f"{ratio:.2f}", f">= {_POLLING}")
    table.add_row("polls a second, whole answers", f"{whole:.0f}", f"{plain:.0f} bare", f"{whole / plain:.2f}", "")
    beside = f"{few_ms:.1f} at 1,000"
    table.add_row(
        f"p99 of a page, ms, at {many:,} jobs", f"{many_ms:.1f}", beside, _ratio(many_ms, few_ms), f"<= {_LISTING}"
    )
    table.add_row("1,000 streams: delay of an event, p50, s", f"{half_s:.3f}", "", "", "")
    table.add_row("1,000 streams: delay of an event, p99, s", f"{late_s:.3f}", "", "", f"< {_DELAY_S:.0f}")
    table.add_row("1,000 streams: kilobytes each", f"{each_kb:.0f}", "", "", "")
    name = f"{size / 2**20:,.0f} MB"
    table.add_row(
        f"upload of {name}, MB/s",
        f"{moved.upload:.0f}",
        f"{moved.plain_upload:.0f} plain",
        f"{moved.upload_ratio:.2f}",
        "",
    )
    table.add_row("the same, SHA-256 alone", f"{_hash_rate():.0f}", "", "", "")
    table.add_row(
        f"download of {name}, MB/s",
        f"{moved.download:.0f}",
        f"{moved.plain_download:.0f} plain",
        f"{moved.download_ratio:.2f}",
        "",
    )
    table.add_row("most memory of the API, MB", f"{peak:.0f}", "", "", f"< {_PEAK_MB}")
    console.print(table)
    return ratio >= _POLLING and many_ms <= _LISTING * few_ms and late_s < _DELAY_S and peak < _PEAK_MB


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}"


def _hash_rate() -> float:
    """Megabytes of SHA-256 a second on one core: an upload is hashed as it comes."""
    block, start, count = bytes(1 << 20), time.perf_counter(), 0
    digest = hashlib.sha256()
    while time.perf_counter() - start < 0.5:
        digest.update(block)
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
