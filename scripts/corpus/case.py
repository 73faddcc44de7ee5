"""One file of the corpus: what it is, what is said of it when it is handed in, and what has to become of it."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["teacher", "dataset"]
Expected = Literal["refused", "accepted"]

RESNET8: Mapping[str, Any] = {"architecture": {"type": "resnet", "depth": 8}}
MLP: Mapping[str, Any] = {"architecture": {"type": "mlp", "hidden": [5]}}
GRAPH: Mapping[str, Any] = {"architecture": {"type": "onnx"}}
IMAGES: Mapping[str, Any] = {"task": "image_classification"}
SOUNDS: Mapping[str, Any] = {"task": "audio_classification"}
TEXTS: Mapping[str, Any] = {"task": "text_classification"}
CLASSES: Mapping[str, Any] = {"task": "tabular_classification"}
VALUES: Mapping[str, Any] = {"task": "tabular_regression"}


@dataclass(frozen=True)
class Canary:
    """What the payload of an attack does, all harmless: files that it makes, a port of this machine that it calls.

    inside: a name in the folder where the converter may write; outside: a path where anybody may.
    """

    inside: str
    outside: Path
    port: int

    @property
    def code(self) -> str:
        """The payload as a program."""
        return (
            f"import socket\nfor path in ({self.inside!r}, {str(self.outside)!r}):\n"
            "    try: open(path, 'w').close()\n    except OSError: pass\n"
            f"try: socket.create_connection(('127.0.0.1', {self.port}), 1)\nexcept OSError: pass\n"
        )

    @property
    def shell(self) -> str:
        """The payload as a command."""
        return f"touch '{self.inside}' '{self.outside}'"


class Trap:
    """Pickles into a call, for whoever unpickles it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call

    @property
    def pickled(self) -> bytes:
        """The trap alone, in protocol 2."""
        return pickle.dumps(self, 2)


@dataclass(frozen=True)
class Case:
    """A file, made when it is its turn.

    group: the line of the table that it counts in. by_limit: a limit of the check may be what refuses it.
    """

    group: str
    name: str
    make: Callable[[], bytes] = field(repr=False)
    kind: Kind = "teacher"
    spec: Mapping[str, Any] = field(default_factory=lambda: RESNET8)
    expected: Expected = "refused"
    by_limit: bool = False
