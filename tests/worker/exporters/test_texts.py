"""student.py for texts: it brings tokenizer and vocabulary along, and makes the ids that the intake made."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from models.canonical import DatasetMeta, TextFacts
from models.spec.data import Bytes, Tokenizer, WordPiece, Words
from models.work import WorkOrder
from tests.worker.exporters.cases import COUNTS, order
from worker.engine.networks import Network, build_network, evaluating
from worker.engine.noise import noise
from worker.exporters import pth, source
from worker.intake.vocabulary import Vocabulary
from worker.tokenizers import bytes as byte_tokens
from worker.tokenizers.framing import SPECIALS

LENGTH = 12
#: What would end a string, a line or a file, and other scripts.
ODD = ("'", '"', "\\", '"""', "{}", "\u732b", "\U0001f600", "\u202e", "#", "##ed", "##s", "na\u00efve", "naive", "want")
MANY = tuple(f"word{i}" for i in range(3000))
STUDENTS: list[dict[str, Any]] = [
    {"type": "bert", "layers": 1, "hidden": 8, "heads": 2, "max_positions": LENGTH},
    {"type": "bag", "embedding": 4, "hidden": [3]},
    {"type": "text_cnn", "embedding": 4, "channels": 3},
]
TOKENIZERS: list[Tokenizer] = [Bytes(), Words(), WordPiece(), WordPiece(lower_case=False)]


def made(student: dict[str, Any], tokenizer: Tokenizer, folder: Path) -> tuple[Network, WorkOrder]:
    """A student and its order, the vocabulary lying where the work folder has the data."""
    is_listed = not isinstance(tokenizer, Bytes)
    tokens = (*SPECIALS, *ODD, *MANY) if is_listed else SPECIALS
    size = len(tokens) if is_listed else byte_tokens.SIZE
    data = DatasetMeta(
        task="text_classification",
        counts=COUNTS,
        input_shape=(size, LENGTH),
        num_outputs=2,
        classes=["no", "yes"],
        text=TextFacts(tokenizer=tokenizer, vocabulary=size, length=LENGTH, column="text"),
    )
    beside = {"vocabulary": Vocabulary(tokens, size).as_bytes.copy()} if is_listed else {}
    save_file({"y": np.zeros(1, np.int64), **beside}, folder / "data.safetensors")
    (folder / "out").mkdir()
    torch.manual_seed(0)
    chosen = order(student, data)
    return build_network(chosen.spec.student, data.input_shape, 2), chosen


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
@pytest.mark.parametrize("student", STUDENTS, ids=lambda student: student["type"])
def test_what_is_shipped_reads_texts_and_is_tidy(tmp_path: Path, student: dict[str, Any], tokenizer: Tokenizer) -> None:
    net, chosen = made(student, tokenizer, tmp_path)
    path = source.export(net, chosen, tmp_path / "out")
    assert path is not None
    weights = pth.export(net, chosen, tmp_path / "out")
    defined = runpy.run_path(str(path))
    theirs = defined["load"](weights)
    x = noise(3, chosen.dataset.input_shape)
    with evaluating(net.module):
        torch.testing.assert_close(theirs(x), net.module(x))
    ids = defined["preprocess"](["", "Na\u00efve wanted word17 \u202e \u732b\u732b", "word1 " * 40])
    assert ids.dtype == torch.int32
    assert ids.shape == (3, LENGTH)
    assert ids[0].tolist() == [2, 3, *[0] * (LENGTH - 2)]
    assert ids[2, -1] == 3
    assert torch.equal(defined["predict"](theirs, ["a text"]), theirs(defined["preprocess"](["a text"])).softmax(1))
    text = path.read_text(encoding="utf-8")
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assigned = [
        target.id
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert len(set(names + assigned)) == len(names + assigned), "no part takes the name of another's"
    assert max(map(len, text.splitlines())) <= 120
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", str(path)]
    unused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert unused.returncode == 0, unused.stdout


def test_odd_tokens_arrive_as_they_are(tmp_path: Path) -> None:
    net, chosen = made(STUDENTS[1], WordPiece(), tmp_path)
    path = source.export(net, chosen, tmp_path / "out")
    assert list(runpy.run_path(str(path))["IDS"]) == [*SPECIALS, *ODD, *MANY]
    ids = runpy.run_path(str(path))["preprocess"](['wanted "na\u00efve" \\'])[0].tolist()
    expected = ["[CLS]", "want", "##ed", '"', "naive", '"', "\\", "[SEP]"]
    assert [[*SPECIALS, *ODD][place] for place in ids if place] == expected


def test_it_answers_for_a_file_of_lines(tmp_path: Path) -> None:
    net, chosen = made(STUDENTS[1], Words(), tmp_path)
    path, weights = source.export(net, chosen, tmp_path / "out"), pth.export(net, chosen, tmp_path / "out")
    lines = tmp_path / "lines.txt"
    lines.write_text("want word1\n\nword2 word3\n", encoding="utf-8")
    command = [sys.executable, "-I", str(path), str(weights), str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    described, *answers = done.stdout.splitlines()
    assert described.startswith("bag: ")
    assert len(answers) == 2
    assert all(answer.split()[0] in {"no", "yes"} for answer in answers)
