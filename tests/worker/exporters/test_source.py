"""student.py: one file that needs torch alone, and does with raw data what training did."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image

from core.errors import Internal
from models.canonical import DatasetMeta
from models.spec.data import DatasetSpec
from models.work import WorkOrder
from tests.worker.exporters.cases import CLASSES, COLUMNS, GREY, IMAGES, PRICES, ROWS, order
from worker.engine.networks import Network, build_network, evaluating
from worker.engine.normalise import student_view
from worker.exporters import pth, source
from worker.exporters._compose import compose
from worker.intake.encoding import encode
from worker.readers.base.case import Case

OWN: list[dict[str, Any]] = [
    {"type": "resnet", "depth": 8, "shortcut": "A"},
    {"type": "wide_resnet", "depth": 10},
    {"type": "vgg", "depth": 8},
    {"type": "mobilenetv2", "width": 0.25},
    {"type": "shufflenetv2", "size": "0.5"},
    {"type": "mlp", "hidden": [16]},
    {"type": "layers", "layers": [{"type": "conv", "out": 4}, {"type": "relu"}, {"type": "global_pool"}]},
]
SMALL_MLP = {"type": "mlp", "hidden": [8]}


def made(student: dict[str, Any], data: DatasetMeta) -> tuple[Network, WorkOrder]:
    torch.manual_seed(0)
    chosen = order(student, data)
    net = build_network(chosen.spec.student, data.input_shape, data.num_outputs)
    net.module(torch.randn(4, *data.input_shape))
    return net, chosen


def shipped(net: Network, chosen: WorkOrder, folder: Path) -> dict[str, Any]:
    """What student.py defines, run as a file of its own beside the weights."""
    pth.export(net, chosen, folder)
    (folder / "student.py").write_text(compose(chosen), encoding="utf-8")
    return runpy.run_path(str(folder / "student.py"))


@pytest.mark.parametrize("student", OWN, ids=lambda student: student["type"])
def test_what_is_shipped_computes_the_same_and_is_tidy(tmp_path: Path, student: dict[str, Any]) -> None:
    net, chosen = made(student, IMAGES)
    defined = shipped(net, chosen, tmp_path)
    theirs = defined["load"](tmp_path / "student.pth")
    assert not theirs.training
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    x = student_view(IMAGES, torch.device("cpu"))(pixels)
    torch.testing.assert_close(defined["preprocess"](pixels), x)
    with evaluating(net.module):
        expected = net.module(x)
    torch.testing.assert_close(defined["predict"](theirs, pixels), expected.softmax(1), rtol=1e-4, atol=1e-5)
    assert theirs.get_submodule(defined["head"](theirs)).out_features == len(CLASSES)

    text = (tmp_path / "student.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))
    assert not {"infer", "guess"} & set(names)
    roots = {name.split(".")[0] for node in tree.body for name in imported(node)}
    assert roots <= {"torch", *sys.stdlib_module_names}
    assert max(map(len, text.splitlines())) <= 120
    unused = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", str(tmp_path / "student.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert unused.returncode == 0, unused.stdout


def imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_the_file_is_run_alone_before_it_is_handed_out(tmp_path: Path) -> None:
    net, chosen = made(OWN[0], GREY)
    path = source.export(net, chosen, tmp_path)
    assert path == tmp_path / "student.py"
    pth.export(net, chosen, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-I", str(path), str(tmp_path / "student.pth")]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "resnet: 74,742 parameters, input [1, 28, 28], 6 outputs\n"


def test_a_librarys_architecture_has_no_file(tmp_path: Path) -> None:
    net, chosen = made({"type": "timm", "name": "test_resnet"}, IMAGES)
    assert source.export(net, chosen, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_never_handed_out(tmp_path: Path) -> None:
    net, chosen = made(SMALL_MLP, IMAGES)
    net.module.get_submodule("head").register_forward_hook(lambda _module, _given, out: out * 2)
    with pytest.raises(Internal, match="does not compute the student's inputs"):
        source.export(net, chosen, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_run_is_never_handed_out(tmp_path: Path) -> None:
    net, chosen = made(SMALL_MLP, ROWS)
    other = order({"type": "mlp", "hidden": [9]}, ROWS)
    assert chosen.spec.student != other.spec.student
    with pytest.raises(Internal, match=r"(?s)does not run by itself.*size mismatch"):
        source.export(net, other, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["import numpy", "from worker.engine import run", "import PIL.Image", "from . import x"]
)
def test_a_file_that_needs_more_than_torch_is_never_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    net, chosen = made(SMALL_MLP, ROWS)
    monkeypatch.setattr(source, "compose", lambda *given: f"{compose(*given)}\n{line}\n")
    with pytest.raises(Internal, match=r"does not run by itself.*it imports"):
        source.export(net, chosen, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_it_sees_in_an_image_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, chosen = made(SMALL_MLP, IMAGES)
    defined = shipped(net, chosen, tmp_path)
    pixels = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "image.png")
    assert torch.equal(defined["read"](tmp_path / "image.png"), pixels.permute(2, 0, 1))
    weights = tmp_path / "student.pth"
    probabilities = defined["predict"](defined["load"](weights), pixels.permute(2, 0, 1))[0]
    command = [sys.executable, "-I", str(tmp_path / "student.py"), str(weights), str(tmp_path / "image.png")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert f"image.png: {CLASSES[int(probabilities.argmax())]}" in done.stdout


def test_images_of_another_size_are_resized_and_of_other_channels_refused(tmp_path: Path) -> None:
    defined = shipped(*made(SMALL_MLP, IMAGES), tmp_path)
    flat = torch.full((1, 3, 40, 30), 200, dtype=torch.uint8)
    expected = student_view(IMAGES, torch.device("cpu"))(torch.full((1, 3, 16, 16), 200, dtype=torch.uint8))
    torch.testing.assert_close(defined["preprocess"](flat), expected)
    picture = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "image.png")
    # Pillow resizes in fixed point: at most one step of a pixel apart.
    by_pillow = defined["preprocess"](defined["read"](tmp_path / "image.png"))
    step = 1 / 255 / torch.tensor([0.2, 0.25, 1.0]).reshape(3, 1, 1)
    assert ((defined["preprocess"](picture) - by_pillow).abs() <= 1.01 * step).all()
    with pytest.raises(ValueError, match="images of 3 channels are needed, these have 1"):
        defined["preprocess"](torch.zeros(1, 16, 16, dtype=torch.uint8))


def test_rows_become_features_as_the_data_set_says(tmp_path: Path) -> None:
    defined = shipped(*made(SMALL_MLP, ROWS), tmp_path)
    assert [column.name for column in COLUMNS] == ["age", "hours", 'job "title"']
    rows: list[dict[str, Any]] = [
        {"age": "50", "hours": " 38.5 ", 'job "title"': "cook", "unused": 1},
        {"age": None, "hours": "?", 'job "title"': None},
        {"age": "nan", "hours": 42.5, 'job "title"': " nurse "},
        {"age": 1e300, "hours": "", 'job "title"': "pilot"},
    ]
    expected = torch.tensor([[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).float()
    expected[3, 0] = torch.finfo(torch.float32).max
    assert torch.equal(defined["preprocess"](rows), expected)
    with pytest.raises(KeyError, match="there is no column 'age'; give None"):
        defined["preprocess"]([{"hours": 1}])


def test_a_regression_answers_in_its_own_units(tmp_path: Path) -> None:
    net, chosen = made(SMALL_MLP, PRICES)
    defined = shipped(net, chosen, tmp_path)
    rows = [{"age": 30, "hours": 40, 'job "title"': "cook"}, {"age": 60, "hours": 20, 'job "title"': "nurse"}]
    with evaluating(net.module):
        standardised = net.module(defined["preprocess"](rows))[:, 0]
    answers = defined["predict"](defined["load"](tmp_path / "student.pth"), rows)
    torch.testing.assert_close(answers, standardised.double() * 50 + 200)


def test_it_answers_for_a_csv_file(tmp_path: Path) -> None:
    net, chosen = made(SMALL_MLP, ROWS)
    defined = shipped(net, chosen, tmp_path)
    (tmp_path / "rows.csv").write_text('age,hours,"job ""title"""\n50,38.5,cook\n,?,pilot\n')
    rows = defined["read"](tmp_path / "rows.csv")
    assert rows[0] == {"age": "50", "hours": "38.5", 'job "title"': "cook"}
    likely = defined["predict"](defined["load"](tmp_path / "student.pth"), rows).argmax(1).tolist()
    command = [sys.executable, "-I", str(tmp_path / "student.py"), str(tmp_path / "student.pth")]
    done = subprocess.run([*command, str(tmp_path / "rows.csv")], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == [ROWS.classes[at] for at in likely]


def test_rows_become_the_features_that_training_saw(tmp_path: Path) -> None:
    cells = {
        "age": ["39", " 50 ", "", "?", "1e3", "nan", "-0.5", "NA"],
        "hours": ["40", "38.5", "", "x?", "0", "inf", "+3", "null"],
        'job "title"': ["cook", " nurse", "None", "", "pilot", "Cook", "NaN", "cook "],
    }
    batch = pa.RecordBatch.from_pydict({**cells, "hours": [cell.replace("x?", "?") for cell in cells["hours"]]})
    spec = DatasetSpec(task="tabular_classification")
    expected = encode(batch, COLUMNS, Case(spec=spec, scratch=tmp_path))
    defined = shipped(*made(SMALL_MLP, ROWS), tmp_path)
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    missing = spec.table.missing
    as_training_read_them = [{k: None if v.strip() in missing else v for k, v in row.items()} for row in rows]
    assert torch.equal(defined["preprocess"](as_training_read_them), torch.from_numpy(expected))
