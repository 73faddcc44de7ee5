"""A teacher, a student and their rows, as all sides of the benchmark get them."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.canonical import TeacherMeta
from models.spec.job import JobSpec
from scripts.bench_folders import NAMED, Inputs
from scripts.bench_train.data import Given
from worker.engine.networks import Network, build_network
from worker.engine.precision import choose

#: Of all sides: SGD as the engine has it by default, and Hinton's loss with the usual weights.
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
T, SOFT, HARD = 4.0, 0.9, 0.1


@dataclass(frozen=True)
class Pair:
    """A teacher and a student, and the data that both see."""

    name: str
    teacher: dict[str, Any]
    student: dict[str, Any]
    given: Given
    batch: int = 64
    #: Of the teacher; empty: as it is made, knowing nothing.
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return self.given.meta.input_shape

    @property
    def is_images(self) -> bool:
        """Images are augmented; tables are not."""
        return len(self.shape) == 3

    @property
    def num_rows(self) -> int:
        """Rows to train on."""
        return self.given.meta.counts["train"]

    def networks(self, seed: int = 0) -> tuple[Network, Network]:
        """The teacher, and a student at a random start of this seed."""
        torch.manual_seed(seed)
        teacher, student = self._record().architecture, JobSpec.model_validate(self.spec({})).student
        assert teacher.type != "onnx"
        made = [build_network(one, self.shape, self.given.meta.num_outputs) for one in (teacher, student)]
        if self.weights:
            made[0].module.load_state_dict(self.weights)
        return made[0], made[1]

    def bare(self) -> "Pair":
        """The pair with its first batch alone, which is enough to time a step on."""
        x, y = self.given.rows("train")
        first = Given(x[: self.batch], y[: self.batch], torch.zeros(self.batch, dtype=torch.uint8), self.given.meta)
        return replace(self, given=first, weights={})

    def standardised(self, x: Tensor) -> Tensor:
        """Rows as the networks take them, float32."""
        if not self.is_images:
            return x
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.given.meta.mean, self.given.meta.std))
        return (x / 255 - mean) / std

    def accuracy(self, module: nn.Module) -> float:
        """On the test rows, in float32."""
        x, y = self.given.rows("test")
        module.eval()
        with torch.inference_mode():
            said = [module(self.standardised(part)).argmax(1) for part in torch.split(x, 256)]
        return float((torch.cat(said) == y).double().mean())

    def inputs(self, folder: Path) -> Inputs:
        """The rows and the teacher, in files that work folders link to."""
        given = self.given
        files = folder / "data.safetensors", folder / "teacher.safetensors"
        save_file({"x": given.x, "y": given.y, "split": given.split}, files[0])
        save_file(self.networks()[0].module.state_dict(), files[1])
        return Inputs(files[0], given.meta, files[1], self._record())

    def spec(self, train: dict[str, Any]) -> dict[str, Any]:
        """Of the engine's job, with these fields of `train`."""
        fixed = {
            "batch_size": self.batch,
            "augment": {"crop": 4, "flip": True} if self.is_images else "none",
            "optimizer": {"type": "sgd", "lr": LR, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY},
            "control": False,
            "select": "last",  # the other sides have no validation to choose by
        }
        return {
            **NAMED,
            "student": self.student,
            "loss": {"type": "kd", "T": T, "weight": SOFT},
            "hard": HARD,
            "train": {**fixed, **train},
        }

    def _record(self) -> TeacherMeta:
        return TeacherMeta.model_validate(
            {
                "architecture": self.teacher,
                "input_shape": self.shape,
                "num_outputs": self.given.meta.num_outputs,
                "parameters": 0,
            }
        )


def taught(pair: Pair, epochs: int) -> dict[str, Tensor]:
    """Weights of a teacher that has learned the rows for some epochs, moved and mirrored as students see them."""
    started = time.monotonic()
    module = pair.networks()[0].module.train()
    precision = choose("auto", module, pair.shape, pair.batch, torch.device("cpu"))
    precision.lay_out(module)
    x, y = pair.given.rows("train")
    steps = epochs * (len(x) // pair.batch)
    optimizer = torch.optim.SGD(module.parameters(), LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), pair.batch)[: steps // epochs]:
            batch = pair.standardised(x[rows])
            if pair.is_images:
                batch = _moved(batch).contiguous(memory_format=torch.channels_last)
            with precision.autocast():
                said = module(batch)
            torch.autograd.backward(F.cross_entropy(said.float(), y[rows]))
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    weights = {name: each.detach().clone().contiguous() for name, each in module.state_dict().items()}
    seconds, accuracy = time.monotonic() - started, pair.accuracy(module)
    print(f"{pair.name}: a teacher made in {seconds:.0f} s, {accuracy:.1%} of the test rows", flush=True)
    return weights


def _moved(x: Tensor) -> Tensor:
    """A batch (B, C, H, W) moved by up to two pixels, all of it alike, and mirrored now and then."""
    down, right, mirrored = (int(torch.randint(n, ())) for n in (5, 5, 2))
    x = F.pad(x, [2] * 4, mode="replicate")[..., down : down + x.shape[2], right : right + x.shape[3]]
    return x.flip(3) if mirrored else x
