"""Pydantic's faults as JSON pointers into the body that the caller wrote.

Pydantic names a fault by its own path, which holds more than the caller's words: the tag of a union (`loss, 0, kd, T`),
the branch of a union that was tried (`augment, literal['auto','none']`), the index of a list that a validator made.
Walking the body beside the path keeps only what is in the body.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.errors import Problem

Loc = Sequence[int | str]

_SHOULD = "Input should be "


@dataclass(frozen=True)
class _Fault:
    pointer: str
    message: str
    #: True where the fault is that of one branch of a union, so that a deeper fault says more.
    of_branch: bool


def pointer_to(loc: Loc, body: Any, *, absent: bool = False) -> str:
    """The JSON pointer (RFC 6901) for pydantic's path; `absent` where its last part is a field that is missing."""
    return _walk(loc, body, absent=absent)[0]


def _walk(loc: Loc, body: Any, *, absent: bool) -> tuple[str, bool]:
    parts: list[int | str] = []
    node, tag_may_come, of_branch = body, True, False
    for number, step in enumerate(loc, 1):
        if tag_may_come and isinstance(node, dict) and step == node.get("type"):
            tag_may_come = False
        elif _holds(node, step):
            parts.append(step)
            node, tag_may_come = node[step], True
        elif absent and number == len(loc):
            parts.append(step)
        else:
            of_branch = True
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts), of_branch


def _holds(node: Any, step: int | str) -> bool:
    if isinstance(node, dict):
        return step in node
    return isinstance(node, list) and isinstance(step, int) and step < len(node)


def problems(faults: Iterable[Mapping[str, Any]], body: Any, root: Any = None) -> list[Problem]:
    """Pydantic's `errors()` as one problem a pointer; `root` is the type that was read, to name the fields it has."""
    found = [_fault(fault, body, root) for fault in faults]
    deep = [fault.pointer for fault in found]
    kept = [
        fault
        for fault in found
        if not (fault.of_branch and any(other.startswith(fault.pointer + "/") for other in deep))
    ]
    by_pointer: dict[str, list[str]] = {}
    for fault in kept:
        by_pointer.setdefault(fault.pointer, []).append(fault.message)
    return [Problem(pointer, _joined(messages)) for pointer, messages in by_pointer.items()]


def _joined(messages: list[str]) -> str:
    """The messages of a union's branches as one sentence."""
    distinct = list(dict.fromkeys(messages))
    if len(distinct) > 1 and all(message.startswith(_SHOULD) for message in distinct):
        choices = [message.removeprefix(_SHOULD) for message in distinct]
        return f"{_SHOULD}{', '.join(choices[:-1])} or {choices[-1]}"
    return "; ".join(distinct)


def _fault(fault: Mapping[str, Any], body: Any, root: Any) -> _Fault:
    kind: str = fault["type"]
    pointer, of_branch = _walk(fault["loc"], body, absent=kind == "missing")
    message: str = fault["msg"]
    match kind:
        case "union_tag_invalid":
            pointer += "/type"
            message = _not_on_the_menu(fault["ctx"]["tag"], re.findall(r"'([^']*)'", fault["ctx"]["expected_tags"]))
        case "union_tag_not_found":
            pointer += "/type"
            message = f"`type` is missing; choose one of: {', '.join(_tags(root, fault['loc']))}"
        case "extra_forbidden":
            message = _no_such_field(str(fault["loc"][-1]), _fields(root, fault["loc"][:-1]))
        case "missing":
            message = "This field is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            message = f"{_SHOULD}an object"
        case "value_error":
            message = message.removeprefix("Value error, ")
        case "string_pattern_mismatch":
            message = f"{_SHOULD}of the form {fault['ctx']['pattern']}"
    return _Fault(pointer, message, of_branch)


def _not_on_the_menu(given: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, choices, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"`{given[:100]}` is not on the menu{hint}; choose one of: {', '.join(choices)}"


def _no_such_field(given: str, fields: Sequence[str]) -> str:
    if not fields:
        return "There is no such field"
    near = difflib.get_close_matches(given, fields, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"There is no field `{given[:100]}` here{hint}; the fields are: {', '.join(fields)}"


def _fields(root: Any, loc: Loc) -> list[str]:
    return list(dict.fromkeys(name for model in _models_at(root, loc) for name in model.model_fields))


def _tags(root: Any, loc: Loc) -> list[str]:
    return [tag for model in _models_at(root, loc) for tag in tags_of(model)]


def tags_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The values of `type` by which a model is chosen from a menu."""
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def _models_at(root: Any, loc: Loc) -> list[type[BaseModel]]:
    """The models that pydantic's path may stand at."""
    models, tag_may_come = list(models_in(root)), True
    for step in loc:
        chosen = [model for model in models if tag_may_come and step in (*tags_of(model), model.__name__)]
        inner = [model.model_fields[step].annotation for model in models if step in model.model_fields]
        if chosen:
            models, tag_may_come = chosen, False
        elif inner:
            models, tag_may_come = [model for annotation in inner for model in models_in(annotation)], True
    return models


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation is made of: itself, or the members of its unions and lists."""
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from models_in(part)
