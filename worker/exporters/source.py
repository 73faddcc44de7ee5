"""student.py: the student's architecture as one file that needs torch alone, where the architecture is our own.

What is written is run in a fresh interpreter that sees nothing of this project, and must say what the student says.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from core.errors import Internal
from models.work import WorkOrder
from worker.engine.networks import Network, family
from worker.engine.normalise import student_view
from worker.exporters._compose import compose, is_self_contained
from worker.exporters._files import whole
from worker.exporters._state import NUM_SAMPLES, outputs, plain_state, samples

FILE = "student.py"
TIMEOUT_S = 300
#: Runs student.py by its path, and refuses to have seen any module of ours on the way.
RUN = """
import runpy, sys, torch
source, weights, given, answers, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
student = runpy.run_path(source)
net = student["load"](weights)
said = {}
with torch.no_grad():
    for name, x in torch.load(given, weights_only=True).items():
        said[name] = net(x) if name == "inputs" else student["preprocess"](x)
torch.save(said, answers)
ours = {name for name in sys.modules if name.split(".")[0] in {"api", "core", "models", "worker"}}
sys.exit(f"it imports {ours}" if ours else 0)
"""


def export(network: Network, order: WorkOrder, out_dir: Path) -> Path | None:
    """Writes and checks the file; None where the architecture is a library's, which then is the source.

    Raises Internal where the file does not compute what the student computes.
    """
    if not is_self_contained(family(order.spec.student.type)):
        return None
    text = compose(order)
    _check(text, network, order)
    path = out_dir / FILE
    with whole(path) as file:
        file.write(text.encode())
    return path


def _check(text: str, network: Network, order: WorkOrder) -> None:
    given, expected = _questions(network, order)
    with tempfile.TemporaryDirectory() as folder:
        said = _ask(text, network, given, Path(folder))
    for question, answer in expected.items():
        if not torch.allclose(said[question], answer, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise Internal(f"{FILE} does not compute the student's {question}", code="export")


def _questions(network: Network, order: WorkOrder) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the file is asked, and what it should answer: ready inputs, and raw images to prepare."""
    in_shape = order.dataset.input_shape
    given = {"inputs": samples(in_shape)}
    expected = {"inputs": outputs(network.module, given["inputs"])}
    if len(in_shape) == 3:
        given["pixels"] = torch.arange(NUM_SAMPLES * in_shape[0] * in_shape[1] * in_shape[2]).to(torch.uint8)
        given["pixels"] = given["pixels"].reshape(NUM_SAMPLES, *in_shape)
        expected["pixels"] = student_view(order.dataset, torch.device("cpu"))(given["pixels"])
    return given, expected


def _ask(text: str, network: Network, given: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    source, weights, questions, answers = (folder / name for name in (FILE, "student.pth", "given.pt", "answers.pt"))
    source.write_text(text, encoding="utf-8")
    torch.save(plain_state(network.module), weights)
    torch.save(given, questions)
    paths = (source, weights, questions, answers)
    # -I: neither the current folder nor anything that the environment names can be imported.
    command = [sys.executable, "-I", "-c", RUN, *map(str, paths), str(torch.get_num_threads())]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise Internal(f"{FILE} does not run by itself: {done.stderr[-2000:]}", code="export")
    said: dict[str, Tensor] = torch.load(answers, weights_only=True)
    return said
