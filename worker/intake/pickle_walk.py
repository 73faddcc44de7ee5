"""A pickle read without running it: opcodes are followed on paper, with stand-ins in place of what they would build.

A state_dict needs few opcodes and few globals: the ones below, and no others. What comes out says which tensors there
are, in which storage, at which offset and with which strides, so that all of it can be checked against the file's
true sizes before torch opens it. A list of what is forbidden would lose: there are too many ways to run code.
"""

import io
import pickletools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.errors import Rejected
from worker.intake.on_paper import CALLS, GLOBALS, Global, Storage, check_counts, pairs_of

SAVE_INSTEAD = (
    'Save the weights alone, torch.save(model.state_dict(), "teacher.pth") or '
    'safetensors.torch.save_file(model.state_dict(), "teacher.safetensors"), and upload that.'
)

#: A pickle of tensors is about a hundred bytes a tensor: the data lies outside of it.
MAX_PICKLE_BYTES = 64 * 2**20
#: About forty a tensor.
_MAX_OPCODES = 10_000_000
_PROTOCOL = 2
#: Plain letters, so that no two readers can disagree on how they are decoded.
_STORAGE_KEY = re.compile(r"[0-9A-Za-z_]{1,64}", re.ASCII)


@dataclass
class Walk:
    """One pickle: what it would build, the storages that it refers to by key, and where it ends."""

    value: Any = None
    storages: dict[str, Storage] = field(default_factory=dict)
    end: int = 0


def walk(data: bytes, *, where: str, offset: int = 0) -> Walk:
    """Follow the pickle at the start of `data`.

    `where` names it in messages and `offset` is its place in the file. Raises Rejected with `pickle_code` for a global
    that is no part of a tensor, `pickle_opcode` for an opcode that no state_dict needs, `pickle_damaged` otherwise.
    """
    machine = _Machine(where, offset)
    try:
        # pickletools reads escapes in names, which no unpickler does, and warns of those that are none.
        with warnings.catch_warnings(action="error", category=DeprecationWarning):
            for number, (opcode, arg, position) in enumerate(pickletools.genops(io.BytesIO(data))):
                machine.position = position or 0
                if number > _MAX_OPCODES:
                    raise machine.refuse("too_big", f"has more than {_MAX_OPCODES:,} opcodes")
                machine.step(opcode.name, arg)
    except Rejected:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, DeprecationWarning) as error:
        raise Rejected(
            f"{where} is damaged near byte {offset + machine.position:,} ({str(error)[:200]}). Save it again and "
            "upload it anew.",
            code="pickle_damaged",
        ) from None
    machine.walk.value = machine.stack.pop() if machine.stack else None
    machine.walk.end = machine.position + 1
    return machine.walk


def first_import(data: bytes) -> tuple[str, int] | None:
    """The first name that a pickle of any protocol imports and that no tensor needs, and its byte."""
    strings: list[str] = []
    try:
        for opcode, arg, position in pickletools.genops(io.BytesIO(data)):
            name = None
            if opcode.name in ("GLOBAL", "INST"):
                name = str(arg).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                name = ".".join(strings[-2:])
            elif isinstance(arg, str):
                strings.append(arg)
            if name is not None and name not in GLOBALS:
                return name[:200], position or 0
    except (ValueError, IndexError, OverflowError, DeprecationWarning):
        return None
    return None


class _Machine:
    """The stack machine of the format (documented in pickletools), on stand-ins."""

    def __init__(self, where: str, offset: int) -> None:
        self.walk = Walk()
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.where = where
        self.offset = offset
        self.position = 0

    def step(self, name: str, arg: Any) -> None:
        if name in _PUSH_ARG:
            self.stack.append(arg)
        elif name in _PUSH_CONSTANT:
            self.stack.append(_PUSH_CONSTANT[name]())
        elif name in _HANDLERS:
            _HANDLERS[name](self, arg)
        elif name != "STOP":
            raise self.refuse(
                "pickle_opcode", f"uses the opcode {name}, which torch.save never writes for tensors by default"
            )

    def refuse(self, code: str, what: str) -> Rejected:
        return Rejected(
            f"{self.where} {what} (byte {self.offset + self.position:,}). It was not loaded. {SAVE_INSTEAD}", code=code
        )

    def items_since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def protocol(self, arg: int) -> None:
        if arg != _PROTOCOL:
            raise self.refuse("pickle_opcode", f"is of protocol {arg}; torch.save writes protocol {_PROTOCOL}")

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def import_(self, arg: str) -> None:
        # genops gives "module name"; neither holds a space where it is honest.
        name = ".".join(arg.split(" ", 1))
        if name not in GLOBALS:
            raise self.refuse("pickle_code", f"refers to {name[:200]!r}, which is code and no part of a tensor")
        self.stack.append(Global(name))

    def put(self, arg: int) -> None:
        self.memo[arg] = self.stack[-1]

    def get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    def tuple_(self, _: Any) -> None:
        items = self.items_since_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def appends(self, _: Any) -> None:
        items = self.items_since_mark()
        self._top(list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict).update(pairs_of([(key, value)]))

    def set_items(self, _: Any) -> None:
        items = self.items_since_mark()
        self._top(dict).update(pairs_of(zip(items[::2], items[1::2], strict=True)))

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"the target is no {kind.__name__}")
        return self.stack[-1]

    def build(self, _: Any) -> None:
        """A state_dict carries the versions of its modules beside its items: nothing else may be set on anything."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], dict) or not isinstance(state, dict) or set(state) - {"_metadata"}:
            raise self.refuse("pickle_code", "sets attributes of an object that is no state_dict")

    def persistent(self, _: Any) -> None:
        """`('storage', class, key, device, numel)`; files of old end with None or `(view key, offset, length)`."""
        tag, kind, key, _device, numel, *rest = self.stack.pop()
        if tag != "storage" or not isinstance(kind, Global) or not kind.name.endswith("Storage"):
            raise self.refuse("pickle_code", "refers to something outside of it that is no storage of numbers")
        start, length = 0, numel
        if rest and rest[0] is not None:
            _, start, length = rest[0]
        check_counts(numel, start, length)
        if not isinstance(key, str) or not _STORAGE_KEY.fullmatch(key) or start + length > numel:
            raise ValueError("a storage is described wrongly")
        found = Storage(key, kind.name.removeprefix("torch."), numel, start, length)
        known = self.walk.storages.setdefault(key, found)
        if (known.kind, known.numel) != (found.kind, found.numel):
            raise ValueError(f"storage {key!r} is described in two ways")
        self.stack.append(found)

    def reduce(self, _: Any) -> None:
        args = self.stack.pop()
        function = self.stack.pop()
        call = CALLS.get(function.name) if isinstance(function, Global) else None
        if call is None or not isinstance(args, tuple):
            raise self.refuse("pickle_code", "calls something that makes no tensor")
        self.stack.append(call(*args))


# The opcodes that torch's own restricted unpickler knows, less those that make objects and sets.
_PUSH_ARG = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_PUSH_CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "MARK": _Machine.mark,
    "GLOBAL": _Machine.import_,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
}
