"""How a network is to compute: who says it, what a few timed steps show, and that it is said once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.spec.precision import Arithmetic
from models.spec.students import MLP, ResNet
from models.spec.training import Train
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from worker.engine import race
from worker.engine.choosing import LONG, Candidate, Choosing
from worker.engine.networks import build_network
from worker.engine.precision import Precision, computes_bf16
from worker.engine.race import Timed, fastest

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
#: A run of any length is worth timing.
ANY = dict.fromkeys(LONG, 0.0)


def candidate(precision: Any = "auto", module: nn.Module | None = None) -> Candidate:
    module = module or build_network(ResNet(depth=8), SHAPE, 10).module
    train = Train(epochs=2, batch_size=8, precision=precision)
    return Candidate(module, SHAPE, train, lambda: torch.randn(8, *SHAPE), 80)


def way(name: Any, *, compiled: bool = False) -> Precision:
    return Precision(name, "cpu", channels_last=True, compiled=compiled)


def timed(name: Any, ms: float, error: float = 0.0, loss_error: float = 0.0, **more: Any) -> Timed:
    return Timed(way(name, **more), ms, error, loss_error, first_s=10.0)


def test_a_short_run_follows_the_rule_and_times_nothing(make: Make, tmp_path: Path) -> None:
    choosing = Choosing(make("short"), CPU)
    assert choosing("student", candidate()).name == "float32"
    assert choosing.said["student"] == {"by": "rule"}


def test_a_long_run_times_each_way_and_leaves_network_and_chance_as_they_are(make: Make) -> None:
    what = candidate()
    before = {name: value.clone() for name, value in what.module.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    choosing = Choosing(make("long"), CPU, long=ANY)
    x = what.batch()
    torch.set_rng_state(expected)
    chosen = choosing("student", Candidate(what.module, SHAPE, what.train, lambda: x, 80))
    said = choosing.said["student"]
    assert said["by"] == "timing"
    names = {(one["name"], one["channels_last"]) for one in said["timed"]}
    assert names == {
        (n, c) for n in (["float32", "bf16"] if computes_bf16(CPU) else ["float32"]) for c in (True, False)
    }
    assert (chosen.name, chosen.channels_last) in names
    exact = [one for one in said["timed"] if one["name"] == "float32"]
    assert all(one["error"] < 1e-5 and one["within"] and one["ms"] > 0 for one in exact)
    assert all(torch.equal(value, before[name]) for name, value in what.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), expected)


def test_what_is_too_far_from_float32_is_not_taken_however_fast() -> None:
    ways = [timed("float32", 9.0), timed("bf16", 1.0, error=1.1 * race.MAX_ERROR)]
    assert fastest(ways, way("bf16"), 1000).name == "float32"
    ways = [timed("float32", 9.0), timed("bf16", 1.0, loss_error=1.1 * race.MAX_LOSS_ERROR)]
    assert fastest(ways, way("bf16"), 1000).name == "float32"
    ways = [timed("float32", 9.0), timed("bf16", 1.0, error=float("nan"))]
    assert fastest(ways, way("bf16"), 1000).name == "float32"
    assert (
        fastest([timed("float32", 9.0), timed("bf16", 1.0, error=0.9 * race.MAX_ERROR)], way("float32"), 1).name
        == "bf16"
    )


def test_the_usual_way_is_left_for_more_than_noise_alone() -> None:
    ways = [timed("float32", 10.0), timed("bf16", 9.9)]
    assert fastest(ways, way("float32"), 1000).name == "float32"


def test_a_compilation_pays_in_a_long_run_alone() -> None:
    ways = [timed("float32", 10.0), timed("float32", 5.0, compiled=True)]
    assert not fastest(ways, way("float32"), 1000).compiled
    assert fastest(ways, way("float32"), 100_000).compiled


def test_a_network_that_overflows_in_bfloat16_loses() -> None:
    class Sharp(nn.Module):
        """A small difference of large numbers, which bfloat16 cannot see."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            out: torch.Tensor = 1000 * (self.first(x) + 100) - 1000 * (self.second(x) + 100)
            return out

    ways = [way("float32"), way("bf16")]
    found = {one.precision.name: one for one in race.race(Sharp(), torch.randn(8, *SHAPE), ways, trains=True)}
    assert found["float32"].within
    assert not found["bf16"].within


def test_what_was_chosen_before_is_not_chosen_again(make: Make) -> None:
    kept = Arithmetic(name="bf16", channels_last=False)
    order = make("stored")
    spec = order.spec.model_copy(update={"arithmetic": {"student": kept}})
    choosing = Choosing(order.model_copy(update={"spec": spec}), CPU, long=ANY)
    assert choosing("student", candidate()).arithmetic == kept
    assert choosing.arithmetic["student"] == kept.model_dump()
    from_checkpoint = Choosing(order, CPU, before={"student": kept.model_dump()}, long=ANY)
    assert from_checkpoint("student", candidate()).arithmetic == kept


def test_what_the_user_says_goes_before_what_is_stored(make: Make) -> None:
    order = make("named")
    spec = order.spec.model_copy(update={"arithmetic": {"student": Arithmetic(name="bf16")}})
    choosing = Choosing(order.model_copy(update={"spec": spec}), CPU, long=ANY)
    wish = Arithmetic(name="tf32", channels_last=False)
    assert choosing("student", candidate(wish)).arithmetic == wish


def test_a_job_says_how_its_networks_compute_and_the_control_computes_as_the_student(
    make: Make, tmp_path: Path
) -> None:
    order = make("job", train={"epochs": 1, "precision": {"name": "bf16", "channels_last": False}})
    report = run(order, tmp_path / "job").report
    (line,) = orders.events(tmp_path / "job", "arithmetic")
    assert set(line["networks"]) == {"student", "control", *order.teachers}
    assert all(one == {"name": "bf16", "channels_last": False, "compile": False} for one in line["networks"].values())
    assert report["arithmetic"]["student"]["by"] == "spec"
    fresh = make("again", train={"epochs": 1})
    again = fresh.model_copy(update={"spec": fresh.spec.model_copy(update={"arithmetic": order_of(line["networks"])})})
    report = run(again, tmp_path / "again").report
    assert {one["name"] for one in report["arithmetic"].values()} == {"bf16"}
    assert report["arithmetic"]["student"]["by"] == "an attempt before"


def order_of(networks: dict[str, Any]) -> dict[str, Arithmetic]:
    return {name: Arithmetic.model_validate(one) for name, one in networks.items()}


def test_the_spec_refuses_what_is_no_way_of_computing() -> None:
    for wrong in ("fp8", {"name": "fp8"}, {"channels_last": True}, {"name": "bf16", "speed": 1}):
        with pytest.raises(ValueError, match="precision"):
            Train.model_validate({"precision": wrong})


def test_compiled_networks_keep_their_names(make: Make, tmp_path: Path) -> None:
    order = make(
        "compiled",
        student={"type": "mlp", "hidden": [8]},
        train={"epochs": 1, "control": False, "precision": {"name": "float32", "compile": True}},
    )
    trained = run(order, tmp_path / "compiled")
    assert not any("_orig_mod" in name for name in trained.weights)
    (*_, newest) = sorted((tmp_path / "compiled" / "checkpoints").glob("*.pt"))
    state = torch.load(newest, weights_only=True)
    assert not any("_orig_mod" in name for done in state["finished"].values() for name in done["last"])


def test_a_network_that_cannot_be_compiled_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.engine.compiled import Compiled

    monkeypatch.setenv("CXX", "/nonexistent/c++")
    monkeypatch.setenv("PATH", "/nonexistent")
    torch._dynamo.reset()
    module = build_network(MLP(hidden=[3]), (5,), 2).module
    x = torch.randn(7, 5)
    assert torch.equal(Compiled(module)(x), module(x))
