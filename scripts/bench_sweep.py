"""Jobs that differ in temperature and weight alone, with one teacher: it runs once for all of them.

    python -m scripts.bench_sweep [--small] [--check]

Each setting is run twice in turn, once sharing what the teacher said with the others and once without, each job a
process of its own. Images as they are: `off` beside `auto`, whose students must be the same. Augmented: the teacher at
each step beside two fixed views. `--check` fails where the teacher ran twice for a row, where students differ, or where
sharing took longer.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.bench_folders import HELD_BACK, Done, Inputs, make_inputs, run

SETTINGS = [(temperature, weight) for temperature in (1, 2, 4, 8) for weight in (0.5, 0.9)]
VIEWS = 2


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="512 images and not 8,192; only as they are")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = 512 if args.small else 8192
    faults: list[str] = []
    print(
        "| samples | alone, s | shared, s | ratio | rows asked alone | rows asked shared | reused |\n"
        "|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = make_inputs(folder / "inputs", rows, {"type": "resnet", "depth": 56})
        faults += compare(folder / "plain", inputs, rows, "as they are", {"augment": "none"}, "off", "auto")
        if not args.small:
            augmented = {"augment": {"crop": 4, "flip": True}}
            faults += compare(folder / "views", inputs, rows, "augmented", augmented, "off", {"views": VIEWS})
    print("\n".join(faults))
    if args.check and faults:
        sys.exit(1)


def compare(
    folder: Path, inputs: Inputs, rows: int, what: str, train: dict[str, Any], alone: Any, shared: Any
) -> list[str]:
    """One line of the table; what is wrong with it."""
    done: dict[str, list[Done]] = {"alone": [], "shared": []}
    students: dict[str, list[str]] = {"alone": [], "shared": []}
    for at, (temperature, weight) in enumerate(SETTINGS):
        for side, wish in (("alone", alone), ("shared", shared)):
            spec = {
                "student": {"type": "resnet", "depth": 8},
                "loss": {"type": "kd", "T": temperature, "weight": weight},
                "hard": 1 - weight,
                "train": {"epochs": 4, "precision": "float32", "control": False, "teacher_cache": wish, **train},
            }
            cache = {"cache_dir": str(folder / "cache"), "cache_bytes": 2**30}
            place = folder / f"{side}-{at}"
            done[side].append(run(place, inputs, spec, **cache))
            students[side].append(hashlib.sha256((place / "out" / "student.pth").read_bytes()).hexdigest())
    seconds = {side: sum(one.seconds for one in jobs) for side, jobs in done.items()}
    asked = {side: sum(_asked(one) for one in jobs) for side, jobs in done.items()}
    reused = sum(one.report["teacher_cache"]["reused_rows"] for one in done["shared"])
    ratio = seconds["shared"] / seconds["alone"]
    print(
        f"| {what} | {seconds['alone']:.1f} | {seconds['shared']:.1f} | {ratio:.2f} | {asked['alone']:,} | "
        f"{asked['shared']:,} | {reused:,} |",
        flush=True,
    )
    once = rows * (1 if shared == "auto" else VIEWS) + 2 * HELD_BACK
    faults = [] if asked["shared"] == once else [f"{what}: {asked['shared']} rows were asked about, not {once}"]
    if shared == "auto" and students["alone"] != students["shared"]:
        faults.append(f"{what}: the students differ")
    return faults if ratio < 1 else [*faults, f"{what}: sharing took longer"]


def _asked(done: Done) -> int:
    cache = done.report["teacher_cache"]
    return int(cache["computed_rows"] + cache["asked_rows"])


if __name__ == "__main__":
    main()
