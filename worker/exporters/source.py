"""student.py: the student's architecture as one file that needs torch alone, where the architecture is our own.

What is written is run before it is handed out, as a module that can import torch and Python's own library and nothing
else, and must say what the student says.
"""

import builtins
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from core.errors import Internal
from models.canonical import TextFacts
from models.work import WorkOrder
from worker.engine.networks import Network, family
from worker.engine.normalise import student_view
from worker.exporters._compose import compose, is_self_contained
from worker.exporters._files import whole
from worker.exporters._state import NUM_SAMPLES, outputs, plain_state, samples
from worker.tokenizers.framing import FIRST, LAST, SPECIALS, framed

FILE = "student.py"
#: The tensor of a canonical data set of texts.
VOCABULARY = "vocabulary"
_TEXTS = ("A text: 3.5 %, naïve e\u0301tude!", "", "東京 \u202eend", "over and over " * 9000)


def export(network: Network, order: WorkOrder, out_dir: Path) -> Path | None:
    """Writes and checks the file; None where the architecture is a library's, which then is the source.

    Raises Internal where the file does not compute what the student computes.
    """
    if not is_self_contained(family(order.spec.student.type)):
        return None
    vocabulary = _vocabulary(order, out_dir)
    text = compose(order, vocabulary)
    _check(text, network, order, vocabulary)
    path = out_dir / FILE
    with whole(path) as file:
        file.write(text.encode())
    return path


def _vocabulary(order: WorkOrder, out_dir: Path) -> list[str]:
    """The tokens by id, out of the job's data set; the few that are no bytes where tokens are bytes."""
    if order.dataset.text is None:
        return []
    with safe_open(out_dir.parent / "data.safetensors", framework="pt") as file:
        if VOCABULARY not in file.keys():  # noqa: SIM118 - it is no mapping
            return list(SPECIALS)
        return bytes(file.get_tensor(VOCABULARY).tolist()).decode().split("\n")


def _check(text: str, network: Network, order: WorkOrder, vocabulary: Sequence[str]) -> None:
    given, expected = _questions(network, order, vocabulary)
    said = _ask(text, network, given)
    for question, answer in expected.items():
        if not torch.allclose(said[question], answer, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise Internal(f"{FILE} does not compute the student's {question}", code="export")


def _questions(
    network: Network, order: WorkOrder, vocabulary: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file is asked, and what it should answer: ready inputs, and raw images or texts to prepare."""
    in_shape = order.dataset.input_shape
    given: dict[str, Any] = {"inputs": samples(in_shape)}
    expected = {"inputs": outputs(network.module, given["inputs"])}
    if len(in_shape) == 3:
        given["pixels"] = torch.arange(NUM_SAMPLES * in_shape[0] * in_shape[1] * in_shape[2]).to(torch.uint8)
        given["pixels"] = given["pixels"].reshape(NUM_SAMPLES, *in_shape)
        expected["pixels"] = student_view(order.dataset, torch.device("cpu"))(given["pixels"])
    if order.dataset.text is not None:
        given["texts"], expected["texts"] = _TEXTS, _ids(order.dataset.text, vocabulary)
    return given, expected


def _ids(facts: TextFacts, vocabulary: Sequence[str]) -> Tensor:
    """Token ids of the example texts as the intake makes them."""
    ids = {token: place for place, token in enumerate(vocabulary)}
    tokenize, how = import_module(f"worker.tokenizers.{facts.tokenizer.type}").tokenize, facts.tokenizer.how()
    x = torch.zeros(len(_TEXTS), facts.length, dtype=torch.int32)
    for row, text in enumerate(_TEXTS):
        found = list(tokenize(text.strip(), ids, max_tokens=facts.length, **how))
        whole = framed(found, ids[FIRST], ids[LAST], facts.length)
        x[row, : len(whole)] = torch.tensor(whole, dtype=torch.int32)
    return x


def _ask(text: str, network: Network, given: dict[str, Any]) -> dict[str, Tensor]:
    try:
        with _alone(text) as student, tempfile.NamedTemporaryFile(suffix=".pth") as weights, torch.no_grad():
            torch.save(plain_state(network.module), weights.name)
            net = student.load(weights.name)
            return {name: net(x) if name == "inputs" else student.preprocess(x) for name, x in given.items()}
    except Exception as error:
        raise Internal(f"{FILE} does not run by itself: {error!r}", code="export") from error


@contextmanager
def _alone(text: str) -> Iterator[ModuleType]:
    """The file as a module. A fresh interpreter would cost seconds for the same answer."""
    module = ModuleType("_student_file")
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
    sys.modules[module.__name__] = module  # where dataclasses look
    try:
        exec(compile(text, FILE, "exec"), vars(module))  # noqa: S102 - the text is ours
        yield module
    finally:
        del sys.modules[module.__name__]


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,  # noqa: A002 - the names are those of __import__
    locals: Mapping[str, object] | None = None,  # noqa: A002
    fromlist: Sequence[str] = (),
    level: int = 0,
) -> ModuleType:
    root = name.split(".", maxsplit=1)[0]
    if level or root not in {"torch", *sys.stdlib_module_names}:
        raise ImportError(f"it imports {name}")
    return builtins.__import__(name, globals, locals, fromlist, level)
