"""`make contract`: thousands of requests made from the OpenAPI document, each answer held against it.

It goes on with one seed after the other until the service has answered as many as asked for. Ends with 1 where
schemathesis finds anything, or where any answer was 500 or above.
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
from scripts.contract.service import service
from scripts.corpus.table import write

#: Without the phase that goes through the values of every field in turn, which alone is some ten thousand requests.
_QUICK = ["--phases", "examples,fuzzing,stateful", "--max-examples", "4", "--no-shrink"]


def main() -> int:
    """Rounds until there were enough requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=20_000, help="requests at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the operationId of the one operation that is asked")
    parser.add_argument("--quick", action="store_true", help="one short round, of fewer requests")
    parser.add_argument("--write", type=Path, help="the page that carries the table")
    given = parser.parse_args()
    options = _QUICK if given.quick else ["--workers", "2"]
    options = [*options, "--include-operation-id", given.only] if given.only else options
    console, started, failed, seed = Console(soft_wrap=True), time.monotonic(), 0, given.seed
    with tempfile.TemporaryDirectory(prefix="distillery-contract-") as name, service(Path(name)) as running:
        before = running.answered()
        while True:
            ended = run(running, Path(name), seed, options)
            console.print(ended.stdout, markup=False, highlight=False)
            failed += ended.returncode != 0
            made = table.since(before, running.answered())
            seed += 1
            if given.quick or failed or sum(made.values()) >= given.num:
                break
        operations = sum(len(methods) for methods in running.document()["paths"].values())
    command = f"make contract N={given.num} SEED={given.seed}"
    text = table.text(made, operations, command, seeds=seed - given.seed, seconds=time.monotonic() - started)
    console.print(Markdown(text))
    if given.write is not None and not failed:
        write(given.write, "contract", text)
    return 1 if failed or table.faults(made) else 0


if __name__ == "__main__":
    sys.exit(main())
