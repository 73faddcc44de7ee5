"""What both acceptance runs do with a job: run it, fetch its file in two parts, score that file, compare."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from core.errors import Unavailable
from scripts.client import Client, Refused
from scripts.follow import follow
from scripts.stack import Stack

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
_SCORE = Path(__file__).with_name("score.py")
#: Reported and measured figures are the same sums in another order.
_ROUNDING = 1e-5

console = Console(highlight=False, soft_wrap=True)


class Prover:
    """Runs jobs, and remembers what does not fit."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self._folder = folder
        self.faults: list[str] = []

    def insist(self, is_so: bool, what: str) -> None:
        """Remember and print whether something is as it should be."""
        console.print(f"  {'ok  ' if is_so else 'FAIL'}  {what}")
        if not is_so:
            self.faults.append(what)

    def run(self, title: str, body: dict[str, Any], score: list[str]) -> dict[str, Any]:
        """One job to its end, its file proven; the job's result. `score` is what scripts/score.py is told."""
        console.print(f"\n[bold]{title}[/bold]")
        job = self.client.post("/jobs", body)
        follow(self.client.events(job["id"]), console)
        job = self.client.get(f"/jobs/{job['id']}")
        if job["status"] != "succeeded":
            raise Refused(f"{title} is {job['status']}: {json.dumps(job['error'], indent=2)}")
        self._prove(job, score)
        result: dict[str, Any] = job["result"]
        return result

    def _prove(self, job: dict[str, Any], score: list[str]) -> None:
        folder = self._folder / job["id"]
        folder.mkdir()
        listed = {each["name"]: each for each in job["artifacts"]}
        size, digest = (listed["student.pth"][field] for field in ("size", "sha256"))
        found = self.client.download(f"/jobs/{job['id']}/student.pth", folder / "student.pth", cut_at=size // 2)
        self.insist(found == digest, f"student.pth, cut at {size // 2:,} bytes and resumed, is {digest[:16]}...")
        self.client.download(listed["student.py"]["url"], folder / "student.py")
        measured = scored(folder, score)
        reported = job["result"]["test"]["student"]
        for name in sorted(set(measured) & set(reported)):
            is_equal = abs(measured[name] - reported[name]) <= _ROUNDING * max(1.0, abs(reported[name]))
            self.insist(is_equal, f"{name}: the file scores {measured[name]:.6g}, reported is {reported[name]:.6g}")
        self.insist(bool(set(measured) & set(reported)), "a figure can be compared")


def scored(folder: Path, score: list[str]) -> dict[str, float]:
    """What scripts/score.py says of a downloaded student, in an interpreter of its own."""
    command = [sys.executable, "-I", str(_SCORE), str(folder), *score]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"The student could not be scored:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def compare_with_control(prover: Prover, results: list[dict[str, Any]], title: str) -> None:
    """A table of the seeds' accuracies: teacher, student without one, student; insists that the last is no worse."""

    def figures(who: str) -> list[float]:
        return [result["test"][who]["accuracy"] for result in results]

    rows = [["teacher", spread(figures("teacher")[:1], ".2%")], ["no teacher", spread(figures("control"), ".2%")]]
    table(
        f"{title} over {len(results)} seeds",
        ["", "mean ± deviation"],
        [*rows, ["kd", spread(figures("student"), ".2%")]],
    )
    gain = mean(figures("student")) - mean(figures("control"))
    prover.insist(gain >= 0, f"kd is at or above the student without a teacher: {gain:+.2%}")


def spread(values: list[float], form: str) -> str:
    """Mean and sample deviation: `spread([0.1, 0.2], ".2%")`."""
    return f"{mean(values):{form}} ± {stdev(values):{form}}" if len(values) > 1 else f"{values[0]:{form}}"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print one."""
    shown = Table(*columns, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*row)
    console.print()
    console.print(shown)


def prove(name: str, needed: Path, play: Callable[[Prover, Path], None]) -> int:
    """Start the service, let `play` use it, stop it; 1 where anything does not fit."""
    if not needed.is_dir():
        console.print(f"{needed} is not there, and nothing can be proven without it.")
        return 1
    folder = Path(tempfile.mkdtemp(prefix=f"distillery-{name}-"))
    try:
        with Stack(folder / "var", port="0") as stack, Client(stack.url) as client:
            prover = Prover(client, folder)
            play(prover, folder)
    except (Refused, Unavailable) as error:
        console.print(str(error), markup=False)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if prover.faults:
        console.print(f"\n{len(prover.faults)} of the things above do not fit.")
        return 1
    console.print("\nEverything fits.")
    return 0
