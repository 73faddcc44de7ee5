"""One thing that keeps a job from running, and the words that such messages share."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

Loc = tuple[int | str, ...]


@dataclass(frozen=True)
class Fault:
    """One thing that does not fit: `loc` is its path in the spec."""

    loc: Loc
    code: str
    message: str
    #: True where it passes by itself: the caller may ask again later.
    passing: bool = False


def type_of(entry: object) -> str:
    """The name of a menu's entry."""
    return str(getattr(entry, "type", ""))


def listed(names: Sequence[str]) -> str:
    """The first of them in words."""
    more = f" and {len(names) - 40} more" if len(names) > 40 else ""
    return ", ".join(names[:40]) + more


def near(given: str, offered: Sequence[str]) -> str:
    """What was probably meant, in brackets; empty where nothing is near."""
    found = difflib.get_close_matches(given, offered, n=1)
    return f" (did you mean `{found[0]}`?)" if found else ""
