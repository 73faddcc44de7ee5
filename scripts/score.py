"""Score a downloaded student on raw files, with nothing of the service: torch, and the student.py that came with it.

    python scripts/score.py FOLDER npz digits.npz                 arrays x_test and y_test
    python scripts/score.py FOLDER idx images.gz labels.gz        the IDX files of the MNIST family, gzipped
    python scripts/score.py FOLDER csv rows.csv TARGET            rows that the student has not seen
    python scripts/score.py FOLDER text rows.csv COLUMN TARGET    the same of texts
    python scripts/score.py FOLDER wav TESTS                      WAV files in folders that name their class

FOLDER holds student.pth and student.py. Prints one JSON object: accuracy, or rmse and r2 where the target is a number.
"""

import csv
import gzip
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BATCH = 1000


def main(arguments: list[str]) -> int:
    """The door."""
    kinds: dict[str, Callable[..., dict[str, Any]]] = {
        "npz": of_npz,
        "idx": of_idx,
        "csv": of_csv,
        "text": of_text,
        "wav": of_wav,
    }
    if len(arguments) < 3 or arguments[1] not in kinds:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder, kind, *files = arguments
    print(json.dumps(kinds[kind](Path(folder), *files)))
    return 0


def of_npz(folder: Path, path: str) -> dict[str, Any]:
    """Images (N, H, W) or (N, H, W, C) of bytes."""
    with np.load(path) as arrays:
        return _of_images(folder, arrays["x_test"], arrays["y_test"])


def of_idx(folder: Path, images: str, labels: str) -> dict[str, Any]:
    """Images (N, H, W) of bytes."""
    return _of_images(folder, idx(images), idx(labels))


def of_csv(folder: Path, path: str, target: str) -> dict[str, Any]:
    """A table whose first line names the columns."""
    student, net = opened(folder)
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    truth = [row.pop(target) for row in rows]
    said = torch.cat([student.predict(net, rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)])
    if student.TARGET is None:
        return _accuracy(said, torch.tensor([student.CLASSES.index(value) for value in truth]))
    wanted = torch.tensor([float(value) for value in truth], dtype=torch.float64)
    error = ((said - wanted) ** 2).mean()
    return {"rmse": float(error.sqrt()), "r2": float(1 - error / wanted.var(correction=0)), "rows": len(rows)}


def of_text(folder: Path, path: str, column: str, target: str) -> dict[str, Any]:
    """A table with a column of texts, whose first line names the columns."""
    student, net = opened(folder)
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = [row[column] for row in rows]
    said = torch.cat([student.predict(net, texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)])
    return _accuracy(said, torch.tensor([student.CLASSES.index(row[target]) for row in rows]))


def of_wav(folder: Path, tests: str) -> dict[str, Any]:
    """Recordings, a folder a class."""
    student, net = opened(folder)
    paths = sorted(Path(tests).glob("*/*.wav"))
    said = torch.cat([student.predict(net, student.read(path)) for path in paths])
    return _accuracy(said, torch.tensor([student.CLASSES.index(path.parent.name) for path in paths]))


def opened(folder: Path) -> tuple[ModuleType, torch.nn.Module]:
    """student.py as a module, and the network with the weights of student.pth."""
    spec = importlib.util.spec_from_file_location("student", folder / "student.py")
    assert spec is not None, "its name ends in .py"
    assert spec.loader is not None, "the same"
    student = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(student)
    return student, student.load(folder / "student.pth")


def _of_images(folder: Path, x: NDArray[np.uint8], y: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Classes are numbers here, and the student's are the same numbers, sorted."""
    student, net = opened(folder)
    pixels = torch.from_numpy(x if x.ndim == 4 else x[..., None]).permute(0, 3, 1, 2)
    said = torch.cat([student.predict(net, batch) for batch in torch.split(pixels, _BATCH)])
    return _accuracy(said, torch.from_numpy(y.astype(np.int64)))


def _accuracy(said: Tensor, truth: Tensor) -> dict[str, Any]:
    return {"accuracy": float((said.argmax(1) == truth).double().mean()), "rows": len(truth)}


def idx(path: str) -> NDArray[np.uint8]:
    """Two zero bytes, the type (8: bytes), the number of dimensions, each as 4 bytes, then the values; gzipped."""
    content = gzip.decompress(Path(path).read_bytes())
    assert content[:3] == b"\x00\x00\x08", f"{path} is an IDX file of bytes"
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape).copy()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
