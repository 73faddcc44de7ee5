"""The largest outputs of a teacher alone are kept: what a job then is, and where it is refused or goes without."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from models.spec.losses import response
from models.spec.losses.term import LossTerm
from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, Taught, run
from tests.worker.engine.test_resume import StopAt, same
from worker.engine import cache
from worker.engine.cut import Cut
from worker.engine.keeping import _too_large
from worker.engine.outputs import Outputs
from worker.engine.stop import Stopped
from worker.engine.wired import Heard

PLAIN = {"epochs": 2, "augment": "none", "control": False}
VIEWED = {"augment": {"crop": 1, "flip": True}, "epochs": 4, "control": False}
#: Rows of the splits; all outputs are kept of the last two, for the report.
TRAIN, OTHERS = 120, 40 + 40

Ordered = Callable[..., WorkOrder]


@pytest.fixture
def ordered(small: Make, tmp_path: Path) -> Ordered:
    def made(name: str, cached: Any, *, train: dict[str, Any] | None = None, **fields: Any) -> WorkOrder:
        own = {"cache_dir": str(tmp_path / "cache"), "cache_bytes": 2**30}
        return small(name, order=own, train={**PLAIN, **(train or {}), "teacher_cache": cached}, **fields)

    return made


def notices(folder: Path, code: str, kind: str = "notice") -> list[str]:
    return [one["message"] for one in orders.events(folder, kind) if one["code"] == code]


def test_with_as_many_as_there_are_it_is_the_job_without(ordered: Ordered, tmp_path: Path) -> None:
    auto = run(ordered("auto", "auto"), tmp_path / "auto")
    for k in (10, 11, 1_000_000):
        cut = run(ordered(f"{k}", {"top_k": k}), tmp_path / f"{k}")
        assert same(auto.weights, cut.weights)
        assert cut.report["teacher_cache"]["computed_rows"] == 0, "the table is the same one"
        assert not notices(tmp_path / f"{k}", "top_k")
    viewed = run(ordered("viewed", {"views": 2}, train=VIEWED), tmp_path / "viewed")
    cut = run(ordered("cut", {"views": 2, "top_k": 10}, train=VIEWED), tmp_path / "cut")
    assert same(viewed.weights, cut.weights)


def test_jobs_that_differ_in_temperature_share_a_table_and_others_do_not(ordered: Ordered, tmp_path: Path) -> None:
    first = run(ordered("first", {"top_k": 3}), tmp_path / "first")
    assert first.report["teacher_cache"]["computed_rows"] == TRAIN + OTHERS
    for name, k, fields, computed in (
        ("hotter", 3, {"loss": {"type": "kd", "T": 9}}, 0),
        ("other", 3, {"loss": [{"type": "reverse_kl", "T": 2}, {"type": "hard_kd"}]}, 0),
        ("more", 4, {}, TRAIN),
        ("all", 10, {}, TRAIN),
    ):
        trained = run(ordered(name, {"top_k": k}, **fields), tmp_path / name)
        assert trained.report["teacher_cache"]["computed_rows"] == computed, name
    again = run(ordered("again", {"top_k": 3}), tmp_path / "again")
    assert same(first.weights, again.weights)
    assert not same(first.weights, run(ordered("auto", "auto"), tmp_path / "auto").weights)
    alone = run(ordered("alone", {"top_k": 3}, train={"epochs": 1}), tmp_path / "alone")
    assert alone.report["teacher_cache"]["asked_rows"] == 0, "of one epoch as well"


def test_a_job_says_what_the_largest_hold(ordered: Ordered, tmp_path: Path) -> None:
    run(ordered("much", {"top_k": 9}, loss=[{"type": "kd", "T": 2}, {"type": "tvd"}]), tmp_path / "much")
    [message] = notices(tmp_path / "much", "top_k")
    assert message.startswith("of the teacher's probability the 9 largest of 10 outputs hold ")
    assert message.index("% at T = 1") < message.index("% at T = 2")
    run(ordered("little", {"top_k": 1}, loss={"type": "kd", "T": 20}), tmp_path / "little")
    [message] = notices(tmp_path / "little", "top_k", "warning")
    assert "a larger `top_k` or a smaller T keeps more" in message


@pytest.mark.parametrize(("cached", "train"), [({"top_k": 3}, {}), ({"views": 3, "top_k": 3}, VIEWED)])
def test_a_job_that_is_stopped_goes_on_with_the_same_bits(
    ordered: Ordered, tmp_path: Path, cached: Any, train: dict[str, Any]
) -> None:
    train = {"batch_size": 10, "epochs": 4, **train}
    whole = run(ordered("whole", cached, train=train), tmp_path / "whole")
    for at in (3, 9, 22):
        with pytest.raises(Stopped):
            run(ordered("work", cached, train=train), tmp_path / "work", StopAt(at))
    assert same(whole.weights, run(ordered("work", cached, train=train), tmp_path / "work").weights)


def test_a_damaged_chunk_is_found_and_made_again(ordered: Ordered, tmp_path: Path) -> None:
    first = run(ordered("first", {"top_k": 3}), tmp_path / "first")
    for path in (tmp_path / "cache").glob("*/*.chunk"):
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    again = run(ordered("again", {"top_k": 3}), tmp_path / "again")
    assert again.report["teacher_cache"]["computed_rows"] == TRAIN + OTHERS
    assert same(first.weights, again.weights)


def test_generations_keep_the_largest_of_each_other(ordered: Ordered, tmp_path: Path) -> None:
    teacher = {"type": "born_again", "generations": 2, "teacher": "tch_1"}
    trained = run(ordered("work", {"top_k": 4}, teacher=teacher), tmp_path / "work")
    assert trained.report["teacher_cache"]["asked_rows"] == 0
    assert len(notices(tmp_path / "work", "top_k")) + len(notices(tmp_path / "work", "top_k", "warning")) == 2


def test_samples_that_are_shown_anew_have_no_answers_to_cut(
    tmp_path: Path, few_digits: Data, small_teacher: Taught
) -> None:
    tensors, meta = few_digits
    large = {**tensors, "x": tensors["x"].repeat_interleave(4, 2).repeat_interleave(4, 3)}  # `auto` crops 32x32
    data = large, meta.model_copy(update={"input_shape": (1, 32, 32)})
    taught = orders.train_teacher(*data, {"type": "mlp", "hidden": [4]}, epochs=1)
    job = orders.spec(train={"epochs": 1, "teacher_cache": {"top_k": 3}, "control": False})
    with pytest.raises(UserConfig) as caught:
        run(orders.make_workdir(tmp_path, data, taught, job), tmp_path)
    assert caught.value.code == "top_k_does_not_fit"
    assert [error.pointer for error in caught.value.errors] == ["/train/teacher_cache"]


def test_what_does_not_fit_is_asked_for_and_the_job_says_what_would(
    ordered: Ordered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = run(ordered("off", "off"), tmp_path / "off")
    monkeypatch.setattr(cache, "MAX_BYTES", 4 * 10 * TRAIN - 1)
    auto = run(ordered("auto", "auto"), tmp_path / "auto")
    [message] = notices(tmp_path / "auto", "teacher_cache")
    assert message.endswith("it is asked at each step"), "ten are not worth a cut"
    assert auto.report["teacher_cache"]["asked_rows"] == 2 * TRAIN
    assert off.report["teacher_cache"]["asked_rows"] == 0


def test_the_remedy_is_named_where_it_is_one() -> None:
    def said(term: LossTerm, *, is_cut: bool = False, features: int = 0) -> str:
        dry = Outputs(torch.zeros(4, 50_000), {"s": torch.zeros(4, features)} if features else {})
        return _too_large(Heard([term], [], dry), 50_000, is_cut=is_cut)

    message = said(response.KD())
    assert "50,000 training rows would take 9.3 GiB, and 2 are kept at most" in message
    k = int(message.rpartition(" ")[2].replace(",", ""))
    for more, fitting in ((0, True), (1, False)):
        assert cache.fits(Outputs(torch.zeros(4, 50_000)), 50_000, Cut(k + more, 50_000)) == fitting
    for other in (said(response.DIST()), said(response.KD(), is_cut=True), said(response.KD(), features=20_000)):
        assert other.endswith("it is asked at each step")


def test_features_are_kept_where_they_fit_and_asked_for_where_they_do_not(
    ordered: Ordered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = [{"type": "kd"}, {"type": "hint"}]
    fitting = run(ordered("fitting", "auto", loss=loss), tmp_path / "fitting")
    assert fitting.report["teacher_cache"]["asked_rows"] == 0
    (heard,) = fitting.parts.student.heard.values()
    features = sum(feature[0].numel() for feature in heard.dry.features.values())
    assert features > 0
    monkeypatch.setattr(cache, "MAX_BYTES", 4 * TRAIN * (10 + features) - 1)
    run(ordered("alone", "auto", loss={"type": "kd"}), tmp_path / "alone")
    assert not notices(tmp_path / "alone", "teacher_cache")[1:]
    beyond = run(ordered("beyond", "auto", loss=loss), tmp_path / "beyond")
    assert beyond.report["teacher_cache"]["asked_rows"] == 2 * TRAIN
    for name, x in fitting.weights.items():
        assert (x.float() - beyond.weights[name].float()).abs().max() < 1e-4, name
