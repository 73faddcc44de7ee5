"""Jobs that differ in temperature and weight alone, with one teacher: it runs once for all of them.

    python -m scripts.bench_sweep [--small] [--check]

Each setting is run twice in turn, once sharing what the teacher said with the others and once without, each job a
process of its own, in threads as OMP_NUM_THREADS says. Images as they are: `off` beside `auto`, whose students must be
the same. Augmented: the teacher at each step beside one fixed view, where a resnet56 that teaches a small student has
most of the time. `--check` fails where the teacher ran twice for a row, where students differ, or where sharing took
longer.
"""

import argparse
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench_folders import HELD_BACK, Done, Inputs, make_inputs, run

TEACHER = {"type": "resnet", "depth": 56}


@dataclass(frozen=True)
class Setting:
    """A line of the table."""

    name: str
    rows: int
    epochs: int
    train: dict[str, Any]
    shared: Any
    temperatures: tuple[float, ...] = (1, 2, 4, 8)
    student_depth: int = 8

    @property
    def jobs(self) -> list[tuple[float, float]]:
        """Temperature and weight of each."""
        return [(temperature, weight) for temperature in self.temperatures for weight in (0.5, 0.9)]


PLAIN: dict[str, Any] = {"augment": "none"}
AUGMENTED: dict[str, Any] = {"augment": {"crop": 4, "flip": True}}
FULL = [
    Setting("as they are", 1536, 4, PLAIN, "auto"),
    Setting("augmented, one view", 1536, 4, AUGMENTED, {"views": 1}),
]
SMALL = [
    Setting("as they are", 384, 2, PLAIN, "auto", (1, 4)),
    Setting("augmented, one view", 384, 4, AUGMENTED, {"views": 1}, (1, 4)),
]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="384 images and not 1,536, four jobs and not eight")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    faults: list[str] = []
    print(
        "| samples | rows | jobs | alone, s | shared, s | ratio | rows asked alone | rows asked shared | reused |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        for at, setting in enumerate(SMALL if args.small else FULL):
            inputs = make_inputs(Path(name) / f"inputs-{at}", setting.rows, TEACHER)
            faults += compare(Path(name) / str(at), inputs, setting)
    print("\n".join(faults))
    if args.check and faults:
        sys.exit(1)


def compare(folder: Path, inputs: Inputs, setting: Setting) -> list[str]:
    """One line of the table; what is wrong with it."""
    done: dict[str, list[Done]] = {"alone": [], "shared": []}
    students: dict[str, list[str]] = {"alone": [], "shared": []}
    for at, (temperature, weight) in enumerate(setting.jobs):
        for side, wish in (("alone", "off"), ("shared", setting.shared)):
            train = {"epochs": setting.epochs, "precision": "float32", "control": False, "teacher_cache": wish}
            spec = {
                "student": {"type": "resnet", "depth": setting.student_depth},
                "loss": {"type": "kd", "T": temperature, "weight": weight},
                "hard": 1 - weight,
                "train": {**train, **setting.train},
            }
            cache: dict[str, Any] = {"cache_dir": str(folder / "cache"), "cache_bytes": 2**30}
            place = folder / f"{side}-{at}"
            done[side].append(run(place, inputs, spec, **cache))
            students[side].append(hashlib.sha256((place / "out" / "student.pth").read_bytes()).hexdigest())
    seconds = {side: sum(one.seconds for one in jobs) for side, jobs in done.items()}
    asked = {side: sum(_asked(one) for one in jobs) for side, jobs in done.items()}
    reused = sum(one.report["teacher_cache"]["reused_rows"] for one in done["shared"])
    ratio = seconds["shared"] / seconds["alone"]
    print(
        f"| {setting.name} | {setting.rows:,} x {setting.epochs} | {len(setting.jobs)} | {seconds['alone']:.1f} | "
        f"{seconds['shared']:.1f} | {ratio:.2f} | {asked['alone']:,} | {asked['shared']:,} | {reused:,} |",
        flush=True,
    )
    once = setting.rows + 2 * HELD_BACK
    faults = [] if asked["shared"] == once else [f"{setting.name}: {asked['shared']} rows were asked about, not {once}"]
    if setting.shared == "auto" and students["alone"] != students["shared"]:
        faults.append(f"{setting.name}: the students differ")
    return faults if ratio < 1 else [*faults, f"{setting.name}: sharing took longer"]


def _asked(done: Done) -> int:
    cache = done.report["teacher_cache"]
    return int(cache["computed_rows"] + cache["asked_rows"])


if __name__ == "__main__":
    main()
