"""Where one attempt at an order stands, and the saved state that another attempt goes on from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from core.errors import UserConfig
from models.spec.training import Train
from models.work import WorkOrder
from worker.engine.checkpoint import Checkpoints, State
from worker.engine.learner import Trail, Weights, trail_from, trail_state
from worker.engine.loop import Run
from worker.engine.progress import Progress
from worker.engine.stop import Stop
from worker.engine.version import ENGINE_VERSION

#: Raised with every change that an older checkpoint cannot be gone on from.
_FORMAT = 2


@dataclass
class Finished:
    """A lesson that is over: its trail, and its weights after the last epoch."""

    trail: Trail
    last: Weights
    #: After the last epoch, what is evaluated beside the network.
    beside: Weights = field(default_factory=dict)


@dataclass
class Attempt:
    """An order and what has been done of it."""

    order: WorkOrder
    workdir: Path
    device: torch.device
    progress: Progress
    stop: Stop
    checkpoints: Checkpoints
    finished: dict[str, Finished] = field(default_factory=dict)

    def state(self, precisions: Mapping[str, Any], run: Run | None) -> State:
        """Everything that another attempt needs; `run` is the one that is not finished."""
        return {
            "format": _FORMAT,
            "engine": ENGINE_VERSION,
            "order": _deciding(self.order),
            "precisions": dict(precisions),
            "finished": {
                name: {"trail": trail_state(done.trail), "last": done.last, "beside": done.beside}
                for name, done in self.finished.items()
            },
            "active": run.name if run else None,
            "run": run.state_dict() if run else None,
            "rng": rng_state(self.device),
        }

    def load(self) -> State | None:
        """The newest saved state, its finished runs put in place; None at the first attempt."""
        saved = self.checkpoints.load(self.device, self._broken)
        if saved is None:
            return None
        if saved["format"] != _FORMAT:
            raise UserConfig(
                "the checkpoints were written by an engine whose training this one cannot go on with: retry the job "
                "from the start",
                code="checkpoint_mismatch",
            )
        if not _is_of(saved["order"], self.order):
            raise UserConfig(
                "the checkpoints in this folder belong to another order: empty checkpoints/ to start anew",
                code="checkpoint_mismatch",
            )
        if (wrote := saved.get("engine", 1)) != ENGINE_VERSION:
            self.progress.notice(
                "engine_changed",
                f"the checkpoint is of engine {wrote}, and engine {ENGINE_VERSION} goes on from it: the student may "
                "differ in its last digits from that of either alone",
            )
        for name, run in saved["finished"].items():
            self.finished[name] = Finished(trail_from(run["trail"]), run["last"], run["beside"])
        return saved

    def _broken(self, path: Path, error: Exception) -> None:
        self.progress.warning("checkpoint_broken", f"the checkpoint {path.name} cannot be read: {error}")


def fingerprint(order: WorkOrder) -> str:
    """A hash of whatever decides what the student becomes."""
    return _hash(_deciding(order))


def _deciding(order: WorkOrder) -> dict[str, Any]:
    """Whatever decides what the student becomes, as fields of an order."""
    spec = order.spec.resolved().model_dump(
        mode="json", exclude={"name", "labels", "limits", "export", "arithmetic", "priority"}
    )
    return {"spec": spec, **order.model_dump(mode="json", include={"teachers", "outputs", "dataset", "dataset_sha256"})}


def _is_of(saved: Any, order: WorkOrder) -> bool:
    """Whether a checkpoint's record of its order says the same as the order.

    A record may be older than some fields, which are then what they are by default: a job that waited over an upgrade
    goes on.
    """
    if isinstance(saved, str):  # engine 1 kept a hash, of orders that had no teacher_cache yet
        return saved in {_hash_of_engine_1(order, without) for without in ((), ("teacher_cache",))}
    try:
        before = WorkOrder.model_validate({**order.model_dump(mode="json"), **saved})
    except ValidationError:
        return False
    return _deciding(before) == _deciding(order)


def _hash_of_engine_1(order: WorkOrder, without: tuple[str, ...]) -> str:
    content = _deciding(order)
    spec = content.pop("spec")
    for train in (spec["train"], *(assistant["train"] for assistant in spec["assistants"])):
        for name in without:
            if train[name] == Train.model_fields[name].default:
                del train[name]
    return _hash([spec, content])


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def rng_state(device: torch.device) -> State:
    """The state of torch's random generators: dropout draws from them."""
    state: State = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: State, device: torch.device) -> None:
    """Put the generators back."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
