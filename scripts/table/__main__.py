"""`make table`: every loss of the menu on Fashion-MNIST with one budget, as jobs of the running service.

What has finished is kept in the data folder: a run that was stopped goes on where it was.
"""

import os
import platform
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import torch

from core.errors import Unavailable
from scripts import fashion
from scripts.chaos.hosts import Hosts
from scripts.client import Client, Refused
from scripts.proof import console
from scripts.stack import AlreadyRunning, Stack
from scripts.table import entries, inputs, page, runs
from scripts.table.budget import FULL, SMALL, Budget
from scripts.table.figures import Figures, Row, ordered
from scripts.table.runs import Json, Wanted
from worker.engine.report import device_name
from worker.engine.version import ENGINE_VERSION

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """1 where a job failed."""
    parser = ArgumentParser(prog="scripts.table", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a look: a loss of each family, one seed, few rows")
    parser.add_argument("--data", type=Path, default=_ROOT / "var" / "table", help="where jobs and results are kept")
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    given = parser.parse_args()
    if not fashion.DATA.is_dir():
        print(f"{fashion.DATA} is not there, so no table is made: it needs Fashion-MNIST's four files.")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _make(given, SMALL if given.small else FULL)
    except (Refused, Unavailable, AlreadyRunning) as error:
        console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        return 130


def _make(given: Namespace, budget: Budget) -> int:
    started = time.monotonic()
    data: Path = given.data.resolve()
    inputs.prepare(data, budget)
    found = _play(data, budget)
    content = page.text(found, budget, _setting())
    console.print(f"\n{content}\n", markup=False)
    if given.write:
        page.write(given.write, content)
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")
    for loss, why in found.faults.items():
        console.print(f"FAIL  {loss}: {why}", markup=False)
    return 1 if found.faults else 0


def _play(data: Path, budget: Budget) -> page.Found:
    """Run what is not there yet. The second worker has a folder of its own, as if it were on another machine."""
    settings = {"port": "0", "threads": "1", "devices": "cpu", "storage_url": (data / "files").as_uri()}
    with Stack(data, **settings) as stack, Client(stack.url) as client:
        given = inputs.hand_in(client, data, budget)
        chosen, left_out = entries.entries(budget.per_family)
        left_out |= runs.refused(client, chosen, given, budget)
        chosen = [entry for entry in chosen if entry.loss not in left_out]
        hosts = Hosts(stack, data / "second")
        try:
            meanwhile = hosts.revive if _at_once() > 1 else stack.revive
            going = runs.Runs(client, budget, given, _at_once(), lambda line: console.print(line, markup=False))
            ended = going.run(runs.wanted(chosen, budget.seeds), meanwhile)
        finally:
            hosts.stop()
    return found_in(chosen, ended, left_out)


def _at_once() -> int:
    return min(2, len(os.sched_getaffinity(0)))


def found_in(chosen: list[entries.Entry], ended: dict[Wanted, Json], left_out: dict[str, str]) -> page.Found:
    """Rows, and what is left out, of jobs that have ended; a loss that the engine refused is left out with its word."""
    left_out = {**left_out, **{each.entry.loss: _error(job) for each, job in ended.items() if _does_not_fit(job)}}
    rows = [_row(entry, ended) for entry in chosen if entry.loss not in left_out]
    good = [job["result"] for job in ended.values() if job["status"] == "succeeded"]
    teacher = next((result["test"]["teacher"]["accuracy"] for result in good if result["test"]["teacher"]), None)
    alone = [_figures(result, "control") for result in good if result["test"]["control"]]
    return page.Found(teacher, alone, ordered(rows, entries.families()), left_out)


def _row(entry: entries.Entry, ended: dict[Wanted, Json]) -> Row:
    jobs = [job for each, job in ended.items() if each.entry == entry]
    bad = [job for job in jobs if job["status"] != "succeeded"]
    figures = [_figures(job["result"], "student") for job in jobs if job not in bad]
    fault = f"{len(bad)} of {len(jobs)} jobs did not succeed: {_error(bad[0])}" if bad else None
    return Row(entry.loss, entry.family, entry.weight, entry.hard, figures, fault)


def _figures(result: Json, who: str) -> Figures:
    agreement = result["test"]["agreement"] if who == "student" else None
    return Figures(result["test"][who]["accuracy"], agreement, result["runs"][who]["train_s"])


def _does_not_fit(job: Json) -> bool:
    """Whether the engine refused the loss for these networks, as it says by pointing to it."""
    error: dict[str, Any] = job["error"] or {}
    at_the_loss = any(fault["pointer"].startswith("/loss/") for fault in error.get("errors", []))
    return job["status"] == "failed" and error.get("class") == "user_config" and at_the_loss


def _error(job: Json) -> str:
    return str(job["error"]["detail"]) if job["error"] else f"the job is {job['status']}"


def _setting() -> page.Setting:
    cores = len(os.sched_getaffinity(0))
    processor = device_name(torch.device("cpu"))
    return page.Setting(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        command=f"make table{' SMALL=1' if '--small' in sys.argv else ''}",
        versions={
            "torch": torch.__version__,
            "engine": str(ENGINE_VERSION),
            "Python": platform.python_version(),
        },
        machine=f"{cores} core{'s' if cores > 1 else ''} of {processor}",
        at_once=_at_once(),
    )


if __name__ == "__main__":
    sys.exit(main())
