"""student.py as text: the family's own source, the figures of this student, and the code that uses both.

The parts are ordinary modules of ours, so that what is shipped has been type-checked and tested. They are joined by
their syntax: imports go to the top, and what only intake needs is left out.
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from pprint import pformat
from types import ModuleType
from typing import Any

from models.spec.students import config
from models.work import WorkOrder
from worker.engine.networks import family
from worker.engine.normalise import student_figures

PARTS = Path(__file__).with_name("serving")
TOKENIZERS = Path(__file__).parents[1] / "tokenizers"
#: Of strings, the first line of which begins behind the name.
_NARROW = 100
#: What a family has for reading strange checkpoints.
FOR_INTAKE = {"infer", "guess"}
#: Names of ours, which a part imports from another part.
OURS = "worker"


def compose(order: WorkOrder, vocabulary: Sequence[str] = ()) -> str:
    """The text of student.py; `vocabulary` is that of a data set of texts, by id."""
    serving, given, shown = _kind(order)
    made_by = family(order.spec.student.type)
    parts = [
        inspect.getsource(made_by),
        (PARTS / "loading.py").read_text(),
        *_tokenizer(order),
        (PARTS / serving).read_text(),
    ]
    code = "\n\n\n".join("".join(_kept(part)).strip("\n") for part in parts)
    constants = "\n".join(f"{name} = {pformat(value, width=118)}" for name, value in _constants(order).items())
    if order.dataset.text is not None:
        constants += f"\nVOCABULARY = {pformat(' '.join(vocabulary), width=_NARROW)}"
    docstring = f'"""{_introduction(order, given, shown)}\n{made_by.__doc__}"""'
    return f"{docstring}\n\n{_imports(parts, code)}\n\n{constants}\n\n\n{code}\n"


def is_self_contained(module: ModuleType) -> bool:
    """Whether a family needs nothing but torch and Python's own library."""
    statements = _import_statements(ast.walk(ast.parse(inspect.getsource(module))))
    return all(root == "torch" or root in sys.stdlib_module_names for root, _, _ in statements)


def _kind(order: WorkOrder) -> tuple[str, str, str]:
    """(the part for that kind of data, what a file is called, what `predict` takes)."""
    if order.dataset.spectrum is not None:
        return "sounds.py", "sound.wav", 'student.read("sound.wav")'
    if order.dataset.text is not None:
        return "texts.py", "lines.txt", '["a text"]'
    if len(order.dataset.input_shape) == 3:
        return "images.py", "image.png", "pixels"
    return "tables.py", "rows.csv", "rows"


def _tokenizer(order: WorkOrder) -> list[str]:
    """The source of what makes token ids of texts; nothing for other data."""
    text = order.dataset.text
    return (
        [] if text is None else [(TOKENIZERS / f"{name}.py").read_text() for name in ("framing", text.tokenizer.type)]
    )


def _introduction(order: WorkOrder, given: str, shown: str) -> str:
    return f"""A student that was trained by distillation, {order.job_id}. It needs torch alone.

    python student.py student.pth              says what it is
    python student.py student.pth {given:<12} says what it makes of a file

or from Python, where `preprocess` and `predict` say what they take:

    import student
    net = student.load("student.pth")
    student.predict(net, {shown})

Its architecture:
"""


def _constants(order: WorkOrder) -> dict[str, Any]:
    data, student = order.dataset, order.spec.student
    shared = {
        "ARCHITECTURE": student.type,
        "CONFIG": config(student),
        "IN_SHAPE": data.input_shape,
        "NUM_OUTPUTS": data.num_outputs,
        "CLASSES": data.classes,
    }
    if len(data.input_shape) == 3:
        mean, std = student_figures(data)
        sound = {"SPECTRUM": data.spectrum.model_dump()} if data.spectrum else {}
        return {**shared, "MEAN": mean, "STD": std, **sound}
    if data.text is not None:
        return {**shared, "TOKENIZER": data.text.tokenizer.how()}
    target = data.target.model_dump() if data.target else None
    return {**shared, "COLUMNS": [column.model_dump() for column in data.columns], "TARGET": target}


def _kept(source: str) -> Iterator[str]:
    """The statements that are shipped, each with the blank lines and comments before it."""
    lines, start = source.splitlines(keepends=True), 0
    for at, node in enumerate(ast.parse(source).body):
        text, start = "".join(lines[start : node.end_lineno]), node.end_lineno or start
        if not _stays_behind(node, is_first=at == 0):
            yield text


def _stays_behind(node: ast.stmt, *, is_first: bool) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.FunctionDef():
            return node.name in FOR_INTAKE
        case ast.Expr(value=ast.Constant()):
            return is_first
        case _:
            return False


def _imports(parts: Iterable[str], code: str) -> str:
    """The import statements of all parts, less those that the shipped code has no use for."""
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    plain, named = set[str](), dict[str, set[str]]()
    for part in parts:
        for _, module, alias in _import_statements(ast.parse(part).body):
            if (alias.asname or alias.name) not in used or module.startswith(OURS):
                continue
            if module:
                named.setdefault(module, set()).add(ast.unparse(alias))
            else:
                plain.add(alias.name)
    lines = [f"import {name}" for name in sorted(plain)]
    lines += [f"from {module} import {', '.join(sorted(named[module]))}" for module in sorted(named)]
    is_torch = [line.split()[1].split(".")[0] == "torch" for line in lines]
    groups = ([line for line, torch in zip(lines, is_torch, strict=True) if torch is which] for which in (False, True))
    return "\n\n".join("\n".join(group) for group in groups if group)


def _import_statements(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str, ast.alias]]:
    """(first part of the imported path, module of a `from` or "", name) for each name that is imported."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], "", alias) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from ((module.split(".")[0], module, alias) for alias in node.names)
