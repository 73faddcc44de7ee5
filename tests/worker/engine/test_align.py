"""Tokens as maps and back, from hand-made tensors to a transformer and a residual network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.pairing import pair
from models.spec.job import JobSpec
from models.spec.losses.feature import Hint
from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught
from worker.engine.align import alike, tokens
from worker.engine.networks import Network, build_network
from worker.engine.objective import make_objective
from worker.engine.outputs import Batch, Outputs
from worker.engine.taps import Tapped
from worker.engine.task import make_task
from worker.engine.wiring import wire

RESNET = {"type": "resnet", "depth": 8}
VIT = {
    "type": "timm",
    "name": "vit_tiny_patch16_224",
    "kwargs": {"patch_size": 2, "depth": 3, "embed_dim": 24, "num_heads": 2},
}


def sequence(extra: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Tokens (2, L, 3), of which the last are the places of the map (2, 3, H, W) row by row."""
    x = torch.randn(2, 3, height, width)
    return torch.cat([torch.randn(2, extra, 3), x.flatten(2).transpose(1, 2)], 1), x


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_tokens_that_meet_a_map_are_its_places_row_by_row(extra: int) -> None:
    s, as_map = sequence(extra, 4, 6)
    other = torch.randn(2, 7, 4, 6)
    assert all(torch.equal(a, b) for a, b in zip(alike(s, other), (as_map, other), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(alike(other, s), (other, as_map), strict=True))
    torch.testing.assert_close(tokens(as_map), s[:, extra:])


def test_the_larger_of_map_and_tokens_is_averaged_down() -> None:
    s, as_map = sequence(1, 4, 4)
    found, small = alike(s, torch.randn(2, 7, 2, 2))
    torch.testing.assert_close(found, nn.functional.avg_pool2d(as_map, 2))
    assert small.shape == (2, 7, 2, 2)
    found, large = alike(s, torch.randn(2, 7, 8, 8))
    assert torch.equal(found, as_map)
    assert large.shape == (2, 7, 4, 4)


def test_sequences_of_unlike_length_are_squares_and_those_of_one_length_stay() -> None:
    (s, _), (t, t_map) = sequence(1, 2, 2), sequence(2, 4, 4)
    small, found = alike(s, t)
    assert small.shape == (2, 3, 2, 2)
    torch.testing.assert_close(found, nn.functional.avg_pool2d(t_map, 2))
    assert alike(t, t)[0] is t


def network(architecture: dict[str, Any]) -> Network:
    torch.manual_seed(0)
    return build_network(JobSpec.model_validate(orders.spec(student=architecture)).student, (1, 8, 8), 10)


X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_stages_of_a_network_that_keeps_channels_last_are_maps_like_others() -> None:
    """4 x 4 places of 12 channels, not 4 channels of 4 x 12 places."""
    windows = {"patch_size": 2, "window_size": 2, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]}
    swin = network({"type": "timm", "name": "swin_tiny_patch4_window7_224", "kwargs": windows})
    swin.module.eval()  # whole blocks are left out at random in training
    stages = Tapped(swin, swin.stages)(X).features
    assert [tuple(stage.shape[1:]) for stage in stages.values()] == [(12, 4, 4), (24, 2, 2)]
    # Its last map, normalised, is averaged over its places for the head.
    places_NHWC = swin.module.get_submodule("norm")(stages[swin.stages[-1]].permute(0, 2, 3, 1))
    said = Tapped(swin, embedding=True)(X)
    assert said.embedding is not None
    torch.testing.assert_close(places_NHWC.mean((1, 2)), said.embedding)
    assert [(p.student, p.teacher) for p in taps_of(network(RESNET), swin)] == [
        ("layer2", "layers.0"), ("layer3", "layers.1"),
    ]  # fmt: skip


def taps_of(student: Network, teacher: Network) -> list[Any]:
    features = [Tapped(net, net.stages)(X).features for net in (student, teacher)]
    return pair(*({name: f.shape[1:] for name, f in side.items()} for side in features))


@pytest.mark.parametrize(("ours", "theirs"), [(RESNET, VIT), (VIT, RESNET)], ids=["from a vit", "into a vit"])
@pytest.mark.parametrize(
    "kind", ["hint", "attention", "nst", "cwd", "vid", "ab", "ofd", "mgd", "pkd", "icc", "sp", "hidden", "reviewkd"]
)
def test_every_stage_of_one_learns_from_the_other(ours: dict[str, Any], theirs: dict[str, Any], kind: str) -> None:
    student, teacher = network(ours), network(theirs)
    pairs = taps_of(student, teacher)
    assert len(pairs) == 3
    loss = JobSpec.model_validate(orders.spec(loss={"type": kind})).loss[0].model_copy(update={"taps": pairs})
    said = Tapped(student, [p.student for p in pairs])(X)
    with torch.no_grad():
        taught = Tapped(teacher, [p.teacher for p in pairs])(X)
    task = make_task(orders.digits()[1], JobSpec.model_validate(orders.spec()).train)
    objective = make_objective(task, 0.0, [loss], said, taught, 5)
    batch = Batch(torch.arange(5), torch.arange(5), progress=0.5)
    value, _ = objective(said, taught, batch)
    value.backward()
    assert value.isfinite()
    for path in {p.student for p in pairs}:
        stage = student.module.get_submodule(path)
        assert any(p.grad is not None and p.grad.any() for p in stage.parameters()), path


@pytest.mark.parametrize("architecture", [RESNET, VIT], ids=["resnet", "vit"])
def test_compiling_and_wrapping_leave_the_pairs_as_they_are(architecture: dict[str, Any]) -> None:
    student, teacher = network(architecture), network(RESNET)
    expected = taps_of(student, teacher)
    compiled = torch.compile(student.module, backend="eager")
    assert isinstance(compiled, nn.Module)
    for module in (compiled, nn.DataParallel(student.module), nn.DataParallel(compiled)):
        assert taps_of(Network(module, student.head, student.stages), teacher) == expected


def test_a_vit_is_taught_by_a_residual_network_as_a_job_wires_it(
    tmp_path: Path, digits: Data, image_teacher: Taught
) -> None:
    orders.make_workdir(tmp_path, digits, image_teacher, orders.spec(student=VIT, loss={"type": "hint"}))
    order = WorkOrder.model_validate_json((tmp_path / "job.json").read_bytes())
    (term,) = wire(order, tmp_path, torch.device("cpu")).student.heard["teacher"].terms
    assert isinstance(term, Hint)
    assert [(p.student, p.teacher) for p in term.taps if not isinstance(p, str)] == [
        ("blocks.0", "layer1"), ("blocks.1", "layer2"), ("blocks.2", "layer3"),
    ]  # fmt: skip


def test_outputs_of_a_vit_name_its_class_token_as_embedding() -> None:
    said: Outputs = Tapped(network(VIT), ["blocks.2"], embedding=True)(X)
    assert said.features["blocks.2"].shape == (5, 17, 24)
    assert said.embedding is not None
    assert said.embedding.shape == (5, 24)
