"""Texts and a vocabulary in, a student that reads texts out: a whole job on news, with a teacher trained here."""

import csv
import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from scripts.client import Client
from scripts.corpus.archives import zipped
from tests.acceptance.handed_out import student_of
from worker.students import bert
from worker.tokenizers import words
from worker.tokenizers.framing import SPECIALS, framed

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ag-news" / "train_subset.csv.gz"
LENGTH, NUM = 16, 600

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not DATA.exists(), reason="shared/data/ag-news is not there"),
]


def news() -> list[dict[str, str]]:
    """Two of the four topics, which a small network tells apart in seconds."""
    with gzip.open(DATA, "rt", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["label"] in "12"][:NUM]


def teach(rows: list[dict[str, str]], tokens: list[str], path: Path) -> None:
    torch.manual_seed(0)
    ids = {token: place for place, token in enumerate(tokens)}
    x = torch.zeros(len(rows), LENGTH, dtype=torch.int32)
    for at, row in enumerate(rows):
        whole = framed(list(words.tokenize(row["text"].strip(), ids, max_tokens=LENGTH)), 2, 3, LENGTH)
        x[at, : len(whole)] = torch.tensor(whole)
    y = torch.tensor([int(row["label"]) - 1 for row in rows])
    net = bert.build((len(tokens), LENGTH), 2, layers=1, hidden=32, heads=2, max_positions=LENGTH, dropout=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(4):
        for batch in torch.split(torch.randperm(len(y)), 32):
            loss: Any = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(net.state_dict(), path)


def test_a_student_of_news(client: Client, tmp_path: Path) -> None:
    rows = news()
    counts = Counter(word for row in rows for word in words.words_of(row["text"]))
    tokens = [*SPECIALS, *(word for word, num in counts.most_common(2000) if num > 1)]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["label", "text"])
    writer.writeheader()
    writer.writerows(rows)
    files = {"news.csv": out.getvalue().encode(), "vocab.txt": "\n".join(tokens).encode()}
    (tmp_path / "news.zip").write_bytes(zipped(files))
    options = {"max_length": LENGTH}
    given = client.dataset("news", tmp_path / "news.zip", "text_classification", text=options)
    dataset = client.ready(given)
    assert dataset["report"]["shape"] == [len(tokens), LENGTH]
    assert dataset["report"]["text"]["column"] == "text"

    teach(rows, tokens, tmp_path / "teacher.pth")
    architecture = {"type": "bert", "layers": 1, "hidden": 32, "heads": 2, "max_positions": LENGTH}
    teacher = client.ready(client.teacher("news", tmp_path / "teacher.pth", architecture))
    assert teacher["report"]["input_shape"] == [len(tokens), -1]

    body: dict[str, Any] = {"teacher": teacher["id"], "dataset": dataset["id"], "loss": [{"type": "kd"}]}
    body["student"] = {"type": "bag", "embedding": 16}
    body["train"] = {"epochs": 15, "batch_size": 32, "optimizer": {"type": "adam", "lr": 0.01}, "control": False}
    refused = client.post("/jobs/validate", body | {"student": {"type": "mlp"}})
    assert [fault["code"] for fault in refused["problems"]] == ["student_not_for_data"]
    job = client.ended(client.post("/jobs", body)["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["test"]["teacher"]["accuracy"] > 0.85
    assert job["result"]["test"]["student"]["accuracy"] > 0.75

    student, net = student_of(client, job["id"], tmp_path)
    said = student.predict(net, [row["text"] for row in rows]).argmax(1).tolist()
    right = sum(student.CLASSES[at] == row["label"] for at, row in zip(said, rows, strict=True))
    assert right > 0.8 * len(rows)
