"""What published code of these losses got wrong, and what they refuse."""

from importlib import import_module
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from models.spec.losses import feature, relation, structure
from models.spec.losses.term import LossTerm, TapPair
from tests.worker.losses.cases import MENU, name_of
from worker.engine.outputs import Batch, Outputs
from worker.losses import rkd
from worker.losses.attention import Attention
from worker.losses.cwd import CWD
from worker.losses.fsp import FSP
from worker.losses.hidden import Hidden
from worker.losses.mgd import MGD
from worker.losses.minilm import MiniLM

MAP, TOKENS, VECTOR = (3, 4, 4), (5, 6), (6,)


def pair(*shapes: tuple[int, ...]) -> tuple[list[TapPair], Outputs]:
    """Taps a, b, ... with features of these shapes, of four samples."""
    names = "abcd"[: len(shapes)]
    features = {name: torch.randn(4, *shape) for name, shape in zip(names, shapes, strict=True)}
    return [TapPair(student=name, teacher=name) for name in names], Outputs(torch.randn(4, 3), features)


@pytest.mark.parametrize(
    ("kind", "entry", "student", "teacher", "fields"),
    [
        (Attention, structure.Attention, VECTOR, VECTOR, {}),
        (CWD, feature.CWD, MAP, VECTOR, {}),
        (MGD, feature.MGD, TOKENS, TOKENS, {}),
        (Hidden, feature.Hidden, MAP, MAP, {}),
        (Hidden, feature.Hidden, TOKENS, (8, 6), {}),
        (Hidden, feature.Hidden, MAP, VECTOR, {}),
        (MGD, feature.MGD, (8, 6), MAP, {}),
        (CWD, feature.CWD, VECTOR, TOKENS, {}),
        (MiniLM, structure.MiniLM, MAP, MAP, {}),
        (MiniLM, structure.MiniLM, (5, 24), (5, 30), {"heads": 4}),
    ],
)
def test_features_that_do_not_compare_are_refused_at_their_pair(
    kind: Any, entry: Any, student: tuple[int, ...], teacher: tuple[int, ...], fields: dict[str, Any]
) -> None:
    taps, ours = pair(student)
    _, theirs = pair(teacher)
    with pytest.raises(UserConfig) as refused:
        kind(entry(taps=taps, **fields), ours, theirs)
    assert [problem.pointer for problem in refused.value.errors] == ["/taps/0"]


def made_alike(entry: Any, taps: list[TapPair], student: Outputs, teacher: Outputs) -> torch.Tensor:
    """The value, whatever the form of the features: the same projectors are drawn for both."""
    torch.manual_seed(5)
    kind = getattr(import_module(f"worker.losses.{name_of(entry)}"), entry.__name__)
    loss = kind(entry(taps=taps), student, teacher)
    value: torch.Tensor = loss(student, teacher, Batch(torch.zeros(4), torch.arange(4), progress=0.5))
    return value


#: What reads maps or sequences. `minilm` is about queries and keys, and `sp` about samples: it flattens what it gets.
OF_PLACES = [e for e in MENU if e.needs_taps and e not in {structure.MiniLM, relation.SP, feature.Hidden}]


@pytest.mark.parametrize("entry", OF_PLACES, ids=name_of)
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_tokens_stand_for_the_map_that_they_are(entry: type[LossTerm], whose: str) -> None:
    taps, ours = pair((3, 4, 4), (3, 2, 2))
    _, theirs = pair((3, 2, 2), (3, 2, 2))
    side = ours if whose == "student" else theirs
    expected = made_alike(entry, taps, ours, theirs)
    for name, x in side.features.items():
        side.features[name] = torch.cat([torch.randn(4, 1, 3), x.flatten(2).transpose(1, 2)], 1)
    torch.testing.assert_close(made_alike(entry, taps, ours, theirs), expected)


def test_hidden_takes_the_places_of_a_map_for_tokens() -> None:
    taps, ours = pair((5, 3))
    _, theirs = pair((7, 2, 2))
    expected_s, expected_t = ours.features["a"][:, 1:], theirs.features["a"].flatten(2).transpose(1, 2)
    as_tokens = [Outputs(ours.logits, {"a": x}) for x in (expected_s, expected_t)]
    torch.testing.assert_close(
        made_alike(feature.Hidden, taps, ours, theirs), made_alike(feature.Hidden, taps, *as_tokens)
    )


def test_fsp_refuses_one_tap_and_unlike_widths() -> None:
    one, ours = pair(MAP)
    with pytest.raises(UserConfig) as refused:
        FSP(structure.FSP(taps=one), ours, ours)
    assert refused.value.errors[0].pointer == "/taps"
    two, ours = pair(MAP, (4, 2, 2))
    _, theirs = pair(MAP, (5, 2, 2))
    with pytest.raises(UserConfig) as refused:
        FSP(structure.FSP(taps=two), ours, theirs)
    assert refused.value.errors[0].pointer == "/taps/1"


def test_angles_a_few_vertices_at_a_time_are_those_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    batch = Batch(torch.zeros(9, dtype=torch.int64), torch.arange(9), torch.rand(9, dtype=torch.float64))
    teacher = Outputs(torch.zeros(9, 2), embedding=torch.randn(9, 5, dtype=torch.float64))
    student = Outputs(torch.zeros(9, 2), embedding=torch.randn(9, 4, dtype=torch.float64, requires_grad=True))
    assert student.embedding is not None
    loss = rkd.RKD(relation.RKD(), student, teacher)
    found = []
    for chunk in (1 << 21, 2 * 9 * 9):
        monkeypatch.setattr(rkd, "_CHUNK", chunk)
        value = loss(student, teacher, batch)
        found.append((value, torch.autograd.grad(value, student.embedding)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_masks_follow_the_sample_and_the_progress_and_no_generator() -> None:
    taps, outputs = pair((2, 6, 6))
    loss = MGD(feature.MGD(taps=taps), outputs, outputs)

    def seen(ids: list[int], progress: float) -> torch.Tensor:
        x = torch.zeros(len(ids), 2, 6, 6)
        return loss._seen(x, Batch(torch.zeros(len(ids)), torch.tensor(ids), progress=progress), 0)

    torch.manual_seed(1)
    before = seen([3, 8, 5], 0.25)
    torch.manual_seed(2)
    assert torch.equal(seen([5, 3], 0.25), before[[2, 0]])
    assert not torch.equal(seen([3, 8, 5], 0.5), before)
    assert 0.55 < 1 - seen(list(range(500)), 0.25).mean() < 0.75
