"""Whole jobs on texts: token ids stay whole numbers from the file to the student that is handed out."""

import runpy
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserConfig, UserInput
from models.canonical import DatasetMeta, TeacherMeta, TextFacts
from models.spec.data import Words
from tests.worker.engine import orders
from tests.worker.engine.conftest import run
from worker.engine.job import run_order
from worker.engine.networks import build_network
from worker.engine.progress import Progress
from worker.engine.stop import Stop
from worker.engine.wiring import wire
from worker.intake.vocabulary import Vocabulary
from worker.tokenizers.framing import SPECIALS

WORDS = ["up", "rises", "high", "down", "falls", "low", *(f"filler{i}" for i in range(300))]
TOKENS = (*SPECIALS, *WORDS)
LENGTH, NUM = 8, (240, 40, 40)
BERT = {"type": "bert", "layers": 2, "hidden": 16, "heads": 2, "max_positions": 8, "dropout": 0.0}
BAG = {"type": "bag", "embedding": 8}
TRAIN = {"epochs": 10, "batch_size": 32, "optimizer": {"type": "adam", "lr": 0.05}, "control": False}
LAYERS = [f"bert.encoder.layer.{at}" for at in range(2)]


@cache
def data() -> tuple[dict[str, Tensor], DatasetMeta]:
    """Texts of fillers with one word that says whether something goes up or down."""
    generator = torch.Generator().manual_seed(0)
    num = sum(NUM)
    y = torch.arange(num) % 2
    x = torch.zeros(num, LENGTH, dtype=torch.int32)
    for row in range(num):
        length = int(torch.randint(1, LENGTH - 2, (), generator=generator))
        ids = torch.randint(10, len(TOKENS), (length,), generator=generator)
        ids[int(torch.randint(length, (), generator=generator))] = 4 + 3 * int(y[row]) + row // 2 % 3
        x[row, : length + 2] = torch.tensor([2, *ids.tolist(), 3])
    split = torch.cat([torch.full((n,), code, dtype=torch.uint8) for code, n in enumerate(NUM)])
    meta = DatasetMeta(
        task="text_classification",
        counts=dict(zip(("train", "val", "test"), NUM, strict=True)),
        input_shape=(len(TOKENS), LENGTH),
        num_outputs=2,
        classes=["up", "down"],
        text=TextFacts(tokenizer=Words(), vocabulary=len(TOKENS), length=LENGTH, column="text"),
    )
    words = torch.from_numpy(Vocabulary(TOKENS, len(TOKENS)).as_bytes.copy())
    return {"x": x, "y": y, "split": split, "vocabulary": words}, meta


@cache
def teacher() -> tuple[dict[str, Tensor], TeacherMeta]:
    return orders.train_teacher(*data(), BERT, epochs=12)


def job(folder: Path, order: dict[str, Any] | None = None, **fields: Any) -> Any:
    spec = orders.spec(**{"student": BAG, "train": TRAIN, **fields})
    return orders.make_workdir(folder, data(), teacher(), spec, **(order or {}))


def test_a_bag_learns_from_a_bert_and_its_file_reads_texts(tmp_path: Path) -> None:
    with closing(Progress(tmp_path / "events.jsonl")) as progress:
        run_order(job(tmp_path), tmp_path, progress, Stop())
    report = orders.report_of(tmp_path)
    assert report["task"] == "text_classification"
    assert report["test"]["teacher"]["accuracy"] > 0.85
    assert report["test"]["student"]["accuracy"] > 0.75
    assert report["input"]["shape"] == [LENGTH]
    assert report["input"]["tokenizer"]["type"] == "words"
    assert report["teacher_cache"]["computed_rows"] == sum(NUM)
    defined = runpy.run_path(str(tmp_path / "out" / "student.py"))
    net = defined["load"](tmp_path / "out" / "student.pth")
    said = defined["predict"](net, ["Filler1 RISES filler2!", "filler3 filler4 falls"])
    assert [defined["CLASSES"][at] for at in said.argmax(1).tolist()] == ["up", "down"]
    x = data()[0]["x"][:3]
    texts = [" ".join(WORDS[place - 4] for place in row if place > 3) for row in x.tolist()]
    assert torch.equal(defined["preprocess"](texts), x)


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "hidden"},
        {"type": "minilm", "heads": 2, "taps": [{"student": f"{LAYERS[0]}.attention.self.joined",
                                                 "teacher": f"{LAYERS[1]}.attention.self.joined"}]},
        {"type": "rkd"},
    ],
    ids=lambda loss: loss["type"],
)  # fmt: skip
def test_hidden_states_relations_and_embeddings_can_be_learnt_from(tmp_path: Path, loss: dict[str, Any]) -> None:
    student = {**BERT, "layers": 1, "hidden": 24, "heads": 3}
    order = job(tmp_path, student=student, loss=[{"type": "kd"}, loss], train={**TRAIN, "epochs": 1})
    report = run(order, tmp_path).report
    if loss["type"] == "hidden":
        assert report["taps"]["hidden"] == [{"student": LAYERS[0], "teacher": LAYERS[1]}]
    assert report["flops"]["student"] > 0


def test_the_student_is_the_same_read_from_the_file_as_it_goes(tmp_path: Path) -> None:
    whole = run(job(tmp_path / "whole"), tmp_path / "whole").weights
    streamed = run(job(tmp_path / "streamed", {"data_memory_bytes": 100}), tmp_path / "streamed").weights
    assert all(torch.equal(whole[name], streamed[name]) for name in whole)


def test_reduced_precision_rounds_no_ids(tmp_path: Path) -> None:
    order = job(tmp_path, student=BERT, train={**TRAIN, "precision": "bf16"})
    parts = wire(order, tmp_path, torch.device("cpu"))
    assert parts.student.precision.name == parts.teacher.precision.name == "bf16"
    assert len(TOKENS) > 257, "ids that bfloat16 could not tell apart"
    rows = parts.splits["train"].take(torch.arange(NUM[0]))
    rounded, exact = parts.teacher(rows).logits, parts.teacher(rows, exact=True).logits
    assert not torch.equal(rounded, exact)
    assert float((rounded - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize(
    ("train", "code", "pointer"),
    [
        ({"mixup": 0.2}, "mixup_does_not_fit", "/train/mixup"),
        ({"augment": {"flip": True}}, "augment_does_not_fit", "/train/augment"),
    ],
)
def test_changes_that_ids_do_not_stand_are_refused(
    tmp_path: Path, train: dict[str, Any], code: str, pointer: str
) -> None:
    with pytest.raises(UserConfig) as caught:
        wire(job(tmp_path, train={**TRAIN, **train}), tmp_path, torch.device("cpu"))
    assert caught.value.code == code
    assert caught.value.errors[0].pointer == pointer


@pytest.mark.parametrize(
    ("student", "pointer"),
    [({"type": "mlp"}, "/student"), ({**BERT, "max_positions": 4}, "/student/max_positions")],
)
def test_a_student_that_cannot_take_the_texts_is_refused(tmp_path: Path, student: dict[str, Any], pointer: str) -> None:
    with pytest.raises(UserConfig) as caught:
        wire(job(tmp_path, student=student), tmp_path, torch.device("cpu"))
    assert caught.value.errors[0].pointer == pointer


def test_a_teacher_of_another_vocabulary_is_refused_or_found_weak(tmp_path: Path) -> None:
    weights, record = teacher()
    larger: nn.Module = build_network(record.architecture, (len(TOKENS) + 1, LENGTH), 2).module  # type: ignore[arg-type]
    spec = orders.spec(student=BAG, train=TRAIN)
    order = orders.make_workdir(tmp_path / "larger", data(), (larger.state_dict(), record), spec)
    with pytest.raises(UserInput, match="word_embeddings"):
        wire(order, tmp_path / "larger", torch.device("cpu"))
    name = "bert.embeddings.word_embeddings.weight"
    shuffled = {**weights, name: weights[name][torch.randperm(len(TOKENS), generator=torch.Generator().manual_seed(1))]}
    order = orders.make_workdir(tmp_path / "shuffled", data(), (shuffled, record), spec)
    with pytest.raises(UserInput, match="another vocabulary than the data set's") as caught:
        run(order, tmp_path / "shuffled")
    assert caught.value.code == "weak_teacher"
