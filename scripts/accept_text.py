"""`make accept-text`: the main job on texts, over HTTP, against real processes.

AG News, a topic for each piece of news. The teacher is a small BERT that is trained here on the training file from a
random start. The student, a bag of words, gets the same texts, of which an eighth have a label: the teacher says what
the others are. Beside it learns the same student without a teacher, by the labels that there are, over three seeds.
The vocabulary is the teacher's, and is handed in beside the table. The official test rows are scored from the
downloaded files alone.
"""

import csv
import gzip
import io
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.proof import SHARED, Prover, compare_with_control, console, prove
from worker.students import bert
from worker.tokenizers import words
from worker.tokenizers.framing import FIRST, LAST, SPECIALS, framed

_DATA = SHARED / "ag-news"
_SEEDS = (0, 1, 2)
_TEACHER: dict[str, Any] = {"type": "bert", "layers": 2, "hidden": 64}
_STUDENT: dict[str, Any] = {"type": "bag", "embedding": 32}
#: What validates is kept from the teacher.
_NUM_VAL, _NUM_LABELLED = 500, 562
_LENGTH, _BATCH, _TEACHER_EPOCHS, _EPOCHS = 40, 32, 2, 15

Row = dict[str, str]


def main() -> int:
    """The door."""
    return prove("accept-text", _DATA, _play)


def _play(prover: Prover, folder: Path) -> None:
    started = time.monotonic()
    train, test = _rows("train_subset.csv.gz"), _rows("test.csv.gz")
    train = [train[place] for place in np.random.default_rng(42).permutation(len(train))]
    val, taught = train[:_NUM_VAL], train[_NUM_VAL:]
    shown = [row if place < _NUM_LABELLED else row | {"label": ""} for place, row in enumerate(taught)]
    console.print(f"[bold]{len(taught):,} texts, {_NUM_LABELLED:,} of which have a label for the student[/bold]")
    tokens = _vocabulary([row["text"] for row in taught])
    test_path = folder / "test.csv"
    test_path.write_text(_csv(test), encoding="utf-8", newline="")
    archive = _archive(folder / "news.zip", tokens, train=shown, val=val, test=test)
    client = prover.client
    options = {"column": "text", "max_length": _LENGTH}
    dataset = client.ready(client.dataset("news", archive, "text_classification", text=options, labels="partial"))
    console.print(f"  {dataset['report']['text']['unknown']:.1%} of the tokens are not in its {len(tokens):,} words")
    _train_teacher(taught, tokens, folder / "teacher.pth")
    teacher = client.ready(client.teacher("bert", folder / "teacher.pth", _TEACHER))
    base = {"teacher": teacher["id"], "dataset": dataset["id"], "student": _STUDENT, "loss": {"type": "kd", "T": 2}}
    results = []
    for seed in _SEEDS:
        optimizer = {"type": "adam", "lr": 0.005}
        train_spec = {"epochs": _EPOCHS, "batch_size": 32, "optimizer": optimizer, "seed": seed, "control": True}
        body = {**base, "name": f"news-{seed}", "train": train_spec}
        results.append(prover.run(f"kd, seed {seed}", body, ["text", str(test_path), "text", "label"]))
    compare_with_control(prover, results, "Test accuracy on the official test rows")
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


def _rows(name: str) -> list[Row]:
    with gzip.open(_DATA / name, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _csv(rows: list[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _vocabulary(texts: list[str]) -> list[str]:
    """Words that are met twice or more, the commonest first."""
    counts = Counter(word for text in texts for word in words.words_of(text))
    return [*SPECIALS, *sorted((word for word in counts if counts[word] > 1), key=lambda word: (-counts[word], word))]


def _archive(target: Path, tokens: list[str], **splits: list[Row]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vocab.txt", "".join(f"{token}\n" for token in tokens))
        for split, rows in splits.items():
            archive.writestr(f"{split}.csv", _csv(rows))
    return target


def _train_teacher(rows: list[Row], tokens: list[str], path: Path) -> None:
    """A BERT from its random start."""
    torch.manual_seed(0)
    x, y = _encoded(rows, tokens), torch.tensor([int(row["label"]) for row in rows])
    config = {name: value for name, value in _TEACHER.items() if name != "type"}
    net: nn.Module = bert.build((len(tokens), _LENGTH), 4, **config)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = _TEACHER_EPOCHS * -(-len(y) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.3)
    for epoch in range(_TEACHER_EPOCHS):
        started, total = time.monotonic(), 0.0
        for batch in torch.split(torch.randperm(len(y)), _BATCH):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        seconds = time.monotonic() - started
        console.print(f"  epoch {epoch + 1}/{_TEACHER_EPOCHS}: loss {total / len(y):.3f}, {seconds:.0f} s")
    torch.save(net.state_dict(), path)


def _encoded(rows: list[Row], tokens: list[str]) -> Tensor:
    """(N, _LENGTH), as the page says."""
    ids = {token: place for place, token in enumerate(tokens)}
    x = torch.zeros(len(rows), _LENGTH, dtype=torch.int32)
    for row, given in enumerate(rows):
        found = list(words.tokenize(given["text"].strip(), ids, max_tokens=_LENGTH))
        whole = framed(found, ids[FIRST], ids[LAST], _LENGTH)
        x[row, : len(whole)] = torch.tensor(whole, dtype=torch.int32)
    return x


if __name__ == "__main__":
    sys.exit(main())
