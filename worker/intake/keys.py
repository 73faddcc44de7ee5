"""Real checkpoints come wrapped and prefixed: from what the file holds to names that an architecture may know."""

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

from core.errors import Problem, Rejected
from worker.intake.pickle_walk import SAVE_INSTEAD

#: Where training scripts keep the weights, in the order of preference.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema")
#: What DataParallel and torch.compile put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")
_MAX_NAME = 1000
_RENAME_S = 10.0

Weights = dict[str, torch.Tensor]


@dataclass
class Named:
    """Weights by name, and how they came to it."""

    weights: Weights
    wrapper: str | None = None
    #: Entries of the checkpoint that are no weights: the epoch, an optimizer, a score.
    ignored: list[str] = field(default_factory=list)
    stripped: list[str] = field(default_factory=list)
    #: Names that the user's patterns changed; None for those that they removed.
    renamed: dict[str, str | None] = field(default_factory=dict)


def unwrap(content: Any) -> Named:
    """The mapping of names to tensors, one level down at most. Raises Rejected where there is none."""
    if not isinstance(content, Mapping):
        raise Rejected(
            f"The checkpoint holds a {type(content).__name__}, not a state_dict. {SAVE_INSTEAD}", code="no_state_dict"
        )
    found = _tensors(content)
    for wrapper in WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and (weights := _tensors(inner)):
            others = [f"{wrapper}.{key}" for key in inner if key not in weights]
            return Named(weights, wrapper, [str(key) for key in content if key != wrapper] + others)
    if not found:
        held = ", ".join(str(key)[:50] for key in list(content)[:10]) or "nothing"
        raise Rejected(
            f"The checkpoint holds no tensors, neither directly nor under one of {', '.join(WRAPPERS)}; it holds "
            f"{held}. {SAVE_INSTEAD}",
            code="no_state_dict",
        )
    return Named(found, None, [str(key) for key in content if key not in found])


def _tensors(content: Mapping[Any, Any]) -> Weights:
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def strip_prefixes(named: Named) -> None:
    """Take off prefixes that every name carries, however many there are."""
    while True:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in named.weights)), None)
        if prefix is None:
            return
        named.weights = {name.removeprefix(prefix): tensor for name, tensor in named.weights.items()}
        named.stripped.append(prefix)


def rename(named: Named, rules: Sequence[tuple[str, str]]) -> None:
    """Apply the user's regular expressions in order. A name that becomes empty is left out.

    Raises Rejected at `/rename/i` for a pattern that is none, that never ends, or that makes two names one.
    """
    for i, (pattern, replacement) in enumerate(rules):
        try:
            with _at_most(_RENAME_S):
                renamed = {name: _substitute(pattern, replacement, name) for name in named.weights}
        except (re.error, IndexError, TimeoutError, OverflowError, RecursionError) as error:
            raise _bad_rule(i, f"cannot be applied: {error}") from None
        _apply(named, renamed, i)


def _substitute(pattern: str, replacement: str, name: str) -> str:
    changed = re.sub(pattern, replacement, name)
    if len(changed) > _MAX_NAME:
        raise OverflowError(f"it makes names longer than {_MAX_NAME} characters")
    return changed


def _apply(named: Named, renamed: dict[str, str], i: int) -> None:
    weights: Weights = {}
    for name, changed in renamed.items():
        if changed in weights:
            raise _bad_rule(i, f"gives two weights the name {changed!r}")
        if changed != name:
            named.renamed[name] = changed or None
        if changed:
            weights[changed] = named.weights[name]
    named.weights = weights


def _bad_rule(i: int, what: str) -> Rejected:
    message = f"rename[{i}] {what}. Give [pattern, replacement] with a regular expression as Python's re.sub takes it."
    return Rejected(message, code="bad_rename", errors=[Problem(f"/rename/{i}", message)])


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Some patterns take longer than anyone lives. The regex engine looks for signals while it matches."""

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
