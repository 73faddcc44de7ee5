"""`make accept`: the main job on Fashion-MNIST, over HTTP, against real processes.

A resnet of depth 20 is trained here and handed in; a resnet of depth 8 learns from it by `kd` over three seeds, each
beside the same student without a teacher, then by `hint` and by `similarity`. Two cores must do it within half an
hour, so the jobs and the teacher see the first rows of the training file only; the test file is whole.
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import mean
from typing import Any

from scripts import fashion
from scripts.proof import Prover, console, prove, spread, table

_SEEDS = (0, 1, 2)


def main() -> int:
    """The door."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000, help="of the 60,000 for training")
    parser.add_argument("--teacher-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=4, help="of each student")
    given = parser.parse_args()
    return prove("accept", fashion.DATA, lambda prover, folder: _play(prover, folder, given))


def _play(prover: Prover, folder: Path, given: Namespace) -> None:
    started = time.monotonic()
    archive = fashion.archive(folder / "fashion-mnist.tar", given.rows)
    x, y = fashion.training_rows(given.rows)
    console.print(f"[bold]A resnet of depth 20 is trained on {len(y):,} images[/bold]")
    fashion.train_teacher(x, y, folder / "teacher.pth", given.teacher_epochs, console.print)
    client = prover.client
    teacher = client.teacher("resnet 20", folder / "teacher.pth", fashion.TEACHER)
    dataset = client.dataset("fashion-mnist", archive, "image_classification", format="idx")
    base = {
        "teacher": client.ready(teacher)["id"],
        "dataset": client.ready(dataset)["id"],
        "student": fashion.STUDENT,
    }
    results = _run_all(prover, base, given.epochs)
    _judge(prover, results)
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


def _run_all(prover: Prover, base: dict[str, Any], epochs: int) -> dict[str, list[dict[str, Any]]]:
    """Results by loss, one for each seed."""
    score = ["idx", str(fashion.file("t10k-images-idx3")), str(fashion.file("t10k-labels-idx1"))]
    results: dict[str, list[dict[str, Any]]] = {"kd": [], "hint": [], "similarity": []}
    for name, found in results.items():
        is_compared = name == "kd"
        for seed in _SEEDS if is_compared else _SEEDS[:1]:
            train = {"epochs": epochs, "seed": seed, "control": is_compared}
            body = {**base, "name": f"{name}-{seed}", "loss": {"type": name}, "train": train}
            found.append(prover.run(f"{name}, seed {seed}", body, score))
    return results


def _judge(prover: Prover, results: dict[str, list[dict[str, Any]]]) -> None:
    def figures(name: str, who: str) -> list[float]:
        return [result["test"][who]["accuracy"] for result in results[name]]

    alone, taught = figures("kd", "control"), figures("kd", "student")
    rows = [["teacher", spread(figures("kd", "teacher")[:1], ".2%")], ["no teacher", spread(alone, ".2%")]]
    rows += [[name, spread(figures(name, "student"), ".2%")] for name in results]
    table(f"Test accuracy, kd and no teacher over {len(_SEEDS)} seeds", ["", "mean ± deviation"], rows)
    gain = mean(taught) - mean(alone)
    prover.insist(gain >= 0, f"kd is at or above the student without a teacher: {gain:+.2%}")


if __name__ == "__main__":
    sys.exit(main())
