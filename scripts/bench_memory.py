"""A data set four times the memory for it: how fast it trains beside one in memory, and what the process holds.

    python -m scripts.bench_memory [--small] [--check]

The same job in turn: with all rows in memory, and with a quarter of that as its budget, so that rows are read as they
are needed. Both must give the same student. The most memory of each process is sampled from /proc: its own, and pages
of files that are mapped. A third job whose data set just fits the budget says what a process needs beside rows.
`--check` fails below 0.8 of the rate in memory, where students differ, or where the streaming job holds more than the
third one and the budget; that last is not asked of the small budget, which is less than two runs of a job differ by.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench_folders import SHAPE, Done, Inputs, make_inputs, run

ROW_BYTES, FACTOR, AT_LEAST, EPOCHS = SHAPE[0] * SHAPE[1] * SHAPE[2], 4, 0.8, 1
_MB, _ROUNDS = 2**20, 2
#: Two runs of the same job were seen to differ by 20 MB: a budget that is not larger tells nothing of what is held.
_TELLING = 32 * _MB


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a budget of 8 MB and not 32 MB")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    budget = (8 if args.small else 32) * _MB
    rows = FACTOR * budget // ROW_BYTES
    found: dict[str, list[Done]] = {"in memory": [], "read as it goes": [], "a quarter, in memory": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = make_inputs(folder / "whole", rows, {"type": "mlp", "hidden": [16]})
        part = make_inputs(folder / "part", rows // FACTOR - 512, {"type": "mlp", "hidden": [16]})
        for at in range(_ROUNDS):
            found["in memory"].append(job(folder / f"memory-{at}", whole, 0))
            found["read as it goes"].append(job(folder / f"stream-{at}", whole, budget))
        found["a quarter, in memory"].append(job(folder / "part-job", part, 0))
    print(f"budget {budget / _MB:.0f} MB, rows {rows * ROW_BYTES / _MB:.0f} MB\n")
    print("| rows | images/s | most own memory, MB | most mapped, MB |\n|---|---|---|---|")
    for name, done in found.items():
        own, mapped = (max(getattr(one, kind) for one in done) / _MB for kind in ("anonymous_bytes", "file_bytes"))
        print(f"| {name} | {median(map(rate, done)):,.0f} | {own:.0f} | {mapped:.0f} |")
    if (faults := wrong(found, budget)) and args.check:
        sys.exit("\n".join(faults))


def job(folder: Path, inputs: Inputs, budget: int) -> Done:
    """A small convolutional student; its teacher costs next to nothing, so that the rows count."""
    train = {"epochs": EPOCHS, "precision": "float32", "control": False, "augment": {"crop": 4, "flip": True}}
    spec: dict[str, Any] = {"student": {"type": "resnet", "depth": 8}, "loss": {"type": "kd"}, "train": train}
    return run(folder, inputs, spec, data_memory_bytes=budget)


def rate(done: Done) -> float:
    """Images a second while it trained, validation included."""
    return float(done.report["teacher_cache"]["asked_rows"] / done.report["timings"]["training"])


def wrong(found: dict[str, list[Done]], budget: int) -> list[str]:
    """What misses the stated figures; prints the ratios."""
    pairs = list(zip(found["in memory"], found["read as it goes"], strict=True))
    ratio = median(rate(streamed) / rate(memory) for memory, streamed in pairs)
    own = max(one.anonymous_bytes for one in found["read as it goes"])
    beyond = own - found["a quarter, in memory"][0].anonymous_bytes
    print(f"\n{ratio:.2f} of the rate in memory (median of {len(pairs)} pairs; stated: at least {AT_LEAST})")
    print(f"{beyond / _MB:+.0f} MB beside a data set that fits the budget")
    faults = [] if ratio >= AT_LEAST else ["reading rows as it goes is too slow"]
    if any(memory.report["val"] != streamed.report["val"] for memory, streamed in pairs):
        faults.append("the students differ")
    return [*faults, "it holds more than the budget"] if budget >= _TELLING and beyond > budget else faults


if __name__ == "__main__":
    main()
