"""`make docs-losses`: docs/losses.md, written from the menu itself. A test holds the page to what this gives."""

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.spec.losses.menu import ENTRIES, family, tag
from models.spec.losses.term import CLASSIFICATION, EVERY_TASK, REGRESSION, LossTerm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "losses.md"

_HEAD = """# The losses

<!-- Written by `make docs-losses` from models/spec/losses/. Change it there. -->

A job's `loss` is one term or a list of terms; the total is `hard` times the label loss plus each term's value times its
`weight`. `GET /catalog/losses` says the same as this page for programs. [What each loss gives](results.md) compares
them on one pair of networks; [adding.md](adding.md) tells how to add one.

```json
{"loss": [{"type": "kd", "T": 4}, {"type": "hint", "weight": 0.5, "taps": "auto"}], "hard": 0.1}
```

**Notation.** z are logits, p^T = softmax(z / T), s is the student and t the teacher, B the batch, C the classes, F a
feature map, e the embedding before the last linear layer. A learned part (a projector, a matrix, a variance) is trained
with the student and left out of `student.pth`.

**hard.** Where a job names no `hard`, it is the smallest that goes with its terms: the column `hard` below.

**Fields of every term.** `type` is its name; `weight` is at least 0 and at most 1,000,000; `teacher`, in a job with
several, is the id of the one that the term listens to.

**What a term needs.** *Feature points*: modules of both networks whose outputs it compares, the field `taps`. With
`auto` stages are paired by depth and resolution, and `POST /jobs/validate` shows which, with their shapes: `pairs` in
its answer has a list for each term, by its place, such as `/loss/0`; null where only the built network knows its stages
(architectures of timm, a graph that takes any size), so that they are paired at the start of the job. Of several
generations it shows those with the first one's teacher. A job without any pair is refused with `no_pair`.
*Embedding*: what goes into the last linear layer; a graph that does not show it is refused. *Same outputs*: they are
compared one by one, so the teacher must have the data set's classes or values, or a map to them. *Labels*: not for
data whose training rows have none.
"""
_COLUMNS = ("loss", "what it compares", "tasks", "needs", "weight", "`hard`")
#: Fields that all terms share, told once.
_SHARED = {"type", "weight", "teacher"}
_LOWER = {"exclusiveMinimum": "above {}", "minimum": "at least {}"}
_UPPER = {"exclusiveMaximum": "below {}", "maximum": "at most {}"}
_TYPES = {"integer": "a whole number", "boolean": "true or false", "string": "text", "null": "null"}


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    print(f"{PAGE.name} has {len(ENTRIES)} losses.")
    return 0


def page() -> str:
    """The whole page."""
    families: dict[str, list[type[LossTerm]]] = {}
    for entry in ENTRIES:
        families.setdefault(family(entry), []).append(entry)
    parts = [_HEAD, *(part for name, entries in families.items() for part in _family(name, entries))]
    return "\n".join(parts)


def needs(entry: type[LossTerm]) -> list[str]:
    """What must be there for it."""
    flags = {
        "feature points": entry.needs_taps,
        "embedding": entry.needs_embedding,
        "same outputs": entry.same_outputs,
        "labels": entry.needs_labels,
    }
    return [name for name, needed in flags.items() if needed]


def _family(name: str, entries: list[type[LossTerm]]) -> Iterator[str]:
    module = inspect.getmodule(entries[0])
    assert module is not None, "a class is in a module"
    yield f"## {name.capitalize()}\n"
    yield f"{inspect.getdoc(module)}\n"
    lines = [_COLUMNS, ("---", "---", "---", "---", "--:", "--:"), *(_summary(entry) for entry in entries)]
    yield "".join(f"| {' | '.join(line)} |\n" for line in lines)
    for entry in entries:
        yield _entry(entry)


def _summary(entry: type[LossTerm]) -> tuple[str, ...]:
    about = (inspect.getdoc(entry) or "").split("\n")[0].rstrip(".")
    weight, hard = entry.model_fields["weight"].default, entry.hard_beside
    return (
        f"[`{tag(entry)}`](#{tag(entry)})", _cell(about), _tasks(entry), ", ".join(needs(entry)) or "-",
        f"{weight:g}", f"{hard:g}",
    )  # fmt: skip


def _tasks(entry: type[LossTerm]) -> str:
    listed = ", ".join(sorted(task.replace("_", " ") for task in entry.tasks))
    return {EVERY_TASK: "all", CLASSIFICATION: "classification", REGRESSION: "regression"}.get(entry.tasks, listed)


def _entry(entry: type[LossTerm]) -> str:
    lines = [f"### {tag(entry)}\n", f"{inspect.getdoc(entry)}\n", f"    {entry.formula}\n"]
    lines.append(f"- Paper: {entry.paper.rstrip('.')}.")
    lines.append(f"- When: {entry.use_when.rstrip('.')}.")
    if few := _least_classes(entry):
        lines.append(f"- As it is set by default it needs {few} classes or more.")
    if rows := _fields(entry):
        lines += ["", "| field | default | values | |", "|---|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _least_classes(entry: type[LossTerm]) -> int:
    """0 where it has no say in that."""
    if any(field.is_required() for field in entry.model_fields.values()):
        return 0
    least = entry().least_classes()
    return least if least > 2 else 0


def _fields(entry: type[LossTerm]) -> list[str]:
    schema = entry.model_json_schema()
    return [
        f"| `{name}` | {_default(field)} | {_cell(_values(field))} | {_cell(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
        if name not in _SHARED
    ]


def _default(field: dict[str, Any]) -> str:
    return f"`{_shown(field['default'])}`" if "default" in field else "*required*"


def _values(field: dict[str, Any]) -> str:
    """The values that a field may have, in words, off its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "const" in field:
        return f"`{_shown(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{_shown(value)}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"{field.get('minItems', 0)} to {field['maxItems']} of {{{_values(field['items'])}}}"
    if "$ref" in field:
        return "student, teacher"
    bounds = list(_bounds(field))
    words = _TYPES.get(field.get("type", ""))
    return ", ".join([*([words] if words else []), *bounds])


def _bounds(field: dict[str, Any]) -> Iterable[str]:
    return (words.format(_shown(field[key])) for key, words in (_LOWER | _UPPER).items() if key in field)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
