"""How far estimates are off: jobs of networks that the fleet has never run, and the same once more, longer.

    python -m scripts.bench_estimates [--small]

A service is started in a new folder, so that the first job has nothing to be told from. Each job is estimated, run and
set beside its estimate; in the second round with half as many epochs again. Images, labels and teachers are random:
only time and memory count.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from scripts.client import Client
from scripts.stack import Stack
from worker.students import mlp, resnet

Json = dict[str, Any]
DIGITS, IMAGES = "1x8x8", "3x32x32"
SHAPES = {DIGITS: (1, 8, 8), IMAGES: (3, 32, 32)}
#: Of training, and of each of the other splits.
ROWS = {DIGITS: (1024, 256), IMAGES: (384, 64)}
_CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """A job: on which data, for how many epochs, and what else its spec says."""

    name: str
    data: str
    student: Json
    epochs: int
    more: Json


def setting(name: str, data: str, student: Json, epochs: int, **more: Any) -> Setting:
    """The rest goes into the spec."""
    return Setting(name, data, student, epochs, more)


_CONV = [{"type": "conv", "out": 16}, {"type": "relu"}, {"type": "max_pool"}, {"type": "conv", "out": 32}]
_SMALL, _RESNET8 = {"type": "mlp", "hidden": [32]}, {"type": "resnet", "depth": 8}
FULL = [
    setting("mlp 16", DIGITS, {"type": "mlp", "hidden": [16]}, 20),
    setting("mlp 512, 256", DIGITS, {"type": "mlp", "hidden": [512, 256]}, 20),
    setting("resnet8", DIGITS, _RESNET8, 8),
    setting("layers", DIGITS, {"type": "layers", "layers": [*_CONV, {"type": "global_pool"}]}, 12),
    setting("resnet8", IMAGES, _RESNET8, 4),
    setting("resnet20", IMAGES, {"type": "resnet", "depth": 20}, 3),
    setting("wrn-16-2", IMAGES, {"type": "wide_resnet", "depth": 16, "width": 2}, 2),
    setting("mobilenetv2", IMAGES, {"type": "mobilenetv2"}, 3),
    setting("vgg8", IMAGES, {"type": "vgg", "depth": 8}, 2),
    setting("shufflenetv2", IMAGES, {"type": "shufflenetv2", "size": "0.5"}, 3),
    setting("resnet14, hint", IMAGES, {"type": "resnet", "depth": 14}, 3, loss={"type": "hint"}, batch_size=32),
    setting("an assistant", IMAGES, _RESNET8, 3, assistants=[{"student": {"type": "resnet", "depth": 14}}]),
    setting("three generations", DIGITS, _SMALL, 15, teacher={"type": "born_again", "generations": 3}),
    setting("peers", DIGITS, _SMALL, 15, teacher={"type": "peers", "students": [_RESNET8]}),
]  # fmt: skip
SMALL = [each for each in FULL if each.data == DIGITS]


@dataclass(frozen=True)
class Found:
    """A job that has ended, beside its estimate."""

    setting: Setting
    estimate: Json

    @property
    def off(self) -> float | None:
        """The factor between what was said and what was, whichever is more."""
        ratio = self.estimate["ratio"]
        return None if ratio is None else max(ratio, 1 / ratio)

    @property
    def fits(self) -> bool:
        """Whether its memory was within the range."""
        said, held = self.estimate["memory_bytes"], self.estimate["peak_bytes"]
        return bool(said["low"] <= held <= said["high"])


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the jobs on images of 8x8 alone")
    settings = SMALL if parser.parse_args().small else FULL
    found = measure(settings)
    print("\n" + "\n".join(table(found)))
    print("\n" + "\n".join(summary(found)))


def measure(settings: list[Setting]) -> list[Found]:
    """All of them, and all of them longer."""
    with tempfile.TemporaryDirectory(prefix="distillery-estimates-") as name:
        folder = Path(name)
        with Stack(folder / "var", port="0", threads="1", devices="cpu") as stack, Client(stack.url) as client:
            ids = {data: _hand_in(client, folder, data) for data in {each.data for each in settings}}
            return [_run(client, ids[each.data], each, longer) for longer in (1.0, 1.5) for each in settings]


def table(found: list[Found]) -> list[str]:
    """A line for each job."""
    lines = [
        "| job | data | basis | seconds said | ran | off | within | MB said | held |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        told = each.estimate
        said = (
            "-" if (seconds := told["seconds"]) is None else "{low:.0f} to {likely:.0f} to {high:.0f}".format(**seconds)
        )
        memory = "- | -" if told["memory_ratio"] is None else _megabytes(told)
        off = "-" if each.off is None else f"{each.off:.2f}"
        within = {None: "-", True: "yes", False: "no"}[told["within"]]
        cells = [each.setting.name, each.setting.data, told["basis"], said, f"{told['ran_s']:.0f}", off, within, memory]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _megabytes(told: Json) -> str:
    said = " to ".join(f"{value / 1e6:.0f}" for value in told["memory_bytes"].values())
    return f"{said} | {told['peak_bytes'] / 1e6:.0f}"


def summary(found: list[Found]) -> list[str]:
    """A line for each basis."""
    lines = []
    for basis in ("scaled", "measured"):
        told = [each for each in found if each.estimate["basis"] == basis]
        off = [each.off for each in told if each.off is not None]
        if off:
            within = sum(bool(each.estimate["within"]) for each in told)
            memory = [each.estimate["memory_ratio"] for each in told]
            fits = sum(each.fits for each in told)
            lines.append(
                f"{basis}: {len(off)} jobs, off by a factor of {median(off):.2f} in the median and {max(off):.2f} at "
                f"worst, {within} within the range; memory {min(memory):.2f} to {max(memory):.2f} of what was said, "
                f"{fits} within the range"
            )
    return lines


def _hand_in(client: Client, folder: Path, data: str) -> Json:
    """A teacher of random weights and random rows, for the body of a job."""
    rng, shape = np.random.default_rng(0), SHAPES[data]
    arrays: dict[str, Any] = {}
    for split, rows in (("train", ROWS[data][0]), ("val", ROWS[data][1]), ("test", ROWS[data][1])):
        x = rng.integers(0, 256, (rows, *(shape if shape[0] > 1 else shape[1:])), dtype=np.uint8)
        arrays |= {
            f"x_{split}": x if shape[0] == 1 else x.transpose(0, 2, 3, 1),
            f"y_{split}": np.arange(rows) % _CLASSES,
        }
    np.savez(folder / f"{data}.npz", allow_pickle=False, **arrays)
    torch.manual_seed(0)
    architecture: Json = {"type": "mlp", "hidden": [256]} if data == DIGITS else {"type": "resnet", "depth": 20}
    config = {name: value for name, value in architecture.items() if name != "type"}
    net = (mlp if data == DIGITS else resnet).build(shape, _CLASSES, **config)
    torch.save(net.state_dict(), folder / f"{data}.pth")
    teacher = client.ready(client.teacher(data, folder / f"{data}.pth", architecture))
    dataset = client.ready(client.dataset(data, folder / f"{data}.npz", "image_classification"))
    return {"teacher": teacher["id"], "dataset": dataset["id"]}


def _run(client: Client, ids: Json, one: Setting, longer: float) -> Found:
    more = dict(one.more)
    train = {"epochs": round(one.epochs * longer), "batch_size": more.pop("batch_size", 64)}
    body = {**ids, "student": one.student, "loss": {"type": "kd"}, "allow_weak_teacher": True, **more, "train": train}
    job = client.ended(client.post("/jobs", body)["id"])
    if job["status"] != "succeeded":
        raise SystemExit(f"{one.name}: {job['error']}")
    print(f"{one.name} on {one.data}: {job['estimate']['reason']}", flush=True)
    return Found(one, job["estimate"])


if __name__ == "__main__":
    main()
