"""`make contract`: thousands of requests made from the OpenAPI document, each answer held against it.

It goes on with one seed after the other until the service has answered as many as asked for; then it sets limits, to
see what is answered beyond them. Ends with 1 where schemathesis finds anything, where any answer was 500 or above,
where an operation was never answered well, and where the limits were not met.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from scripts.contract import table
from scripts.contract.run import run
from scripts.contract.service import Service, service
from scripts.contract.tally import Tally
from scripts.corpus.table import write

#: Without the phase that goes through the values of every field in turn, which alone is some ten thousand requests.
_QUICK = ["--phases", "examples,fuzzing,stateful", "--max-examples", "4", "--no-shrink"]
#: Jobs that have to wait, and then each operation a few times, for which there are not requests enough.
_LIMITED = (
    ["--phases", "examples", "--include-operation-id", "create_job"],
    ["--phases", "fuzzing", "--max-examples", "2", "--no-shrink"],
)


def main() -> int:
    """Rounds until there were enough requests, then one with limits."""
    given = _given()
    options = _QUICK if given.quick else ["--workers", "2"]
    options = [*options, "--include-operation-id", given.only] if given.only else options
    console, started, tally, bad = Console(soft_wrap=True), time.monotonic(), Tally(), 0
    with tempfile.TemporaryDirectory(prefix="distillery-contract-") as name, service(Path(name)) as running:
        before, seed = running.answered(), given.seed
        while True:
            bad += _round(running, Path(name), seed, options, tally, console)
            made = table.since(before, running.answered())
            seed += 1
            if given.quick or bad or sum(made.values()) >= given.num:
                break
        document, seconds = running.document(), time.monotonic() - started
        limits = Tally()
        if not given.only:
            running.limit()
            bad += sum(_round(running, Path(name), given.seed, part, limits, console) for part in _LIMITED)
    command = f"make contract N={given.num} SEED={given.seed}"
    requests, operations = sum(made.values()), len(table.operations(document))
    head = table.head(command, requests, operations, seeds=seed - given.seed, seconds=seconds)
    text = table.text(made, document, tally, head)
    if not given.only:
        text += f"\n\n{table.limited(limits)}"
        # A short round may miss one.
        bad += (bool(table.unreached(document, tally)) and not given.quick) + (not _both_met(limits))
    console.print(Markdown(text))
    bad += bool(table.faults(made))
    if given.write is not None and not bad:
        write(given.write, "contract", text)
    return 1 if bad else 0


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=20_000, help="requests at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the operationId of the one operation that is asked")
    parser.add_argument("--quick", action="store_true", help="one short round, of fewer requests")
    parser.add_argument("--write", type=Path, help="the page that carries the table")
    return parser.parse_args()


def _round(running: Service, folder: Path, seed: int, options: list[str], tally: Tally, console: Console) -> int:
    """One run, its report printed; 1 where it found something."""
    ended = run(running, folder, seed, options, tally)
    console.print(ended.stdout, markup=False, highlight=False)
    return int(ended.returncode != 0)


def _both_met(limits: Tally) -> bool:
    """Whether the limits of the queue and of the rate were both met, always with the time to wait."""
    codes = {code for _, code, _ in limits.limited}
    timed = all(says_when for _, _, says_when in limits.limited)
    return timed and {"too_many_requests", "too_many_jobs"} <= codes


if __name__ == "__main__":
    sys.exit(main())
