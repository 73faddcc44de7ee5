"""`make accept`: the main job on Fashion-MNIST, over HTTP, against real processes.

A depth-20 residual network is trained here, handed in, and distilled into one of depth 8 by `kd` (three seeds, each
beside the same student without a teacher), `hint` and `similarity`. Every student is fetched in two parts, hashed, and
scored by a program of its own on the raw files. Ends with 1 where a figure differs from the report, or where `kd` is on
the mean worse than no teacher.
"""

import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from core.errors import Unavailable
from scripts.client import Client, Refused
from scripts.prove import prove
from scripts.score import idx
from scripts.stack import Stack
from worker.students import resnet

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "fashion-mnist"
_TRAIN, _TEST = (
    tuple(DATA / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")) for part in ("train", "t10k")
)
_TEACHER = {"type": "resnet", "depth": 20}
_STUDENT = {"type": "resnet", "depth": 8}
#: Fashion-MNIST's own, as its README gives them.
_MEAN, _STD = 0.2860, 0.3530
_TEACHER_EPOCHS, _BATCH = 4, 128
_SEEDS = (0, 1, 2)
#: Images stay as they are, so the teacher runs once for each: three epochs fit the time on two cores.
_BUDGET = {"epochs": 3, "batch_size": _BATCH, "augment": "none"}

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """0 where everything holds."""
    if not DATA.is_dir():
        console.print(f"Fashion-MNIST is not at {DATA.parent.name}/{DATA.name} beside this repository.")
        return 1
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="distillery-accept-") as name:
        try:
            is_proven = _accept(Path(name))
        except (Refused, Unavailable) as error:
            console.print(str(error), markup=False)
            is_proven = False
    console.print(f"{'Proven' if is_proven else 'NOT proven'} in {time.monotonic() - started:.0f} s.")
    return 0 if is_proven else 1


def _accept(folder: Path) -> bool:
    console.print(f"A depth-20 teacher is trained for {_TEACHER_EPOCHS} epochs on the 60,000 training images")
    _train_teacher(folder / "teacher.pth")
    with tarfile.open(folder / "fashion-mnist.tar", "w") as archive:
        for path in (*_TRAIN, *_TEST):
            archive.add(path, path.name)
    with Stack(folder / "var", port="0") as stack, Client(stack.url) as client:
        teacher = client.teacher(
            "resnet20", folder / "teacher.pth", _TEACHER, input={"preset": "none", "mean": [_MEAN], "std": [_STD]}
        )
        dataset = client.dataset("fashion-mnist", folder / "fashion-mnist.tar", "image_classification")
        things = {"teacher": client.ready(teacher)["id"], "dataset": client.ready(dataset)["id"]}
        jobs = [_body(things, {"type": "kd", "T": 4}, seed, control=True) for seed in _SEEDS]
        jobs += [_body(things, {"type": kind}, 0, control=False) for kind in ("hint", "similarity")]
        results = [_run(client, body, folder) for body in jobs]
    return _show(results)


def _body(things: dict[str, Any], loss: dict[str, Any], seed: int, *, control: bool) -> dict[str, Any]:
    train = {**_BUDGET, "seed": seed, "control": control}
    return {**things, "name": f"{loss['type']}, seed {seed}", "student": _STUDENT, "loss": loss, "train": train}


def _run(client: Client, body: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One job to its end, its student proven."""
    started = time.monotonic()
    job = client.ended(client.post("/jobs", body)["id"])
    scored = prove(client, job, folder / job["id"], "idx", *map(str, _TEST))
    reported = job["result"]["test"]["student"]["accuracy"]
    if scored["accuracy"] != reported:
        raise Refused(f"{body['name']}: reported {reported}, the file scores {scored['accuracy']}")
    console.print(f"{body['name']}: {reported:.2%}, as its file scores; {time.monotonic() - started:.0f} s")
    return {"loss": body["loss"]["type"], **job["result"]}


def _show(results: list[dict[str, Any]]) -> bool:
    table = Table("Fashion-MNIST", "test accuracy", "spread", "seeds", "agreement with the teacher")
    rows = {"teacher": [results[0]["test"]["teacher"]["accuracy"]]}
    rows["no teacher"] = [each["test"]["control"]["accuracy"] for each in results if each["test"]["control"]]
    agreement: dict[str, list[float]] = {}
    for each in results:
        rows.setdefault(each["loss"], []).append(each["test"]["student"]["accuracy"])
        agreement.setdefault(each["loss"], []).append(each["test"]["agreement"])
    for name, values in rows.items():
        spread = f"{statistics.stdev(values):.2%}" if len(values) > 1 else ""
        agrees = f"{statistics.mean(agreement[name]):.2%}" if name in agreement else ""
        table.add_row(name, f"{statistics.mean(values):.2%}", spread, str(len(values)), agrees)
    console.print(table)
    gain: float = statistics.mean(rows["kd"]) - statistics.mean(rows["no teacher"])
    console.print(f"kd is {gain * 100:+.2f} points beside no teacher, on the mean of {len(_SEEDS)} seeds.")
    return gain >= 0


def _train_teacher(path: Path) -> None:
    torch.manual_seed(0)
    net = resnet.build((1, 28, 28), 10, depth=20).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, y = (torch.from_numpy(idx(str(file))) for file in _TRAIN)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = _TEACHER_EPOCHS * -(-len(y) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for epoch in range(_TEACHER_EPOCHS):
        total = 0.0
        for rows in torch.split(torch.randperm(len(y)), _BATCH):
            loss = F.cross_entropy(_logits(net, x[rows]), y[rows].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        console.print(f"  epoch {epoch + 1}: mean loss {total / len(y):.3f}")
    torch.save(net.state_dict(), path)


def _logits(net: torch.nn.Module, images: Tensor) -> Tensor:
    x = ((images[:, None] / 255 - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        logits: Tensor = net(x)
    return logits.float()


if __name__ == "__main__":
    sys.exit(main())
