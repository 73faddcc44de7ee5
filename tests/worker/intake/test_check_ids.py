"""Clients branch on the ids of checks: the pages list each one that the code can give, and none that it cannot."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from worker.answer import Verdict

ROOT = Path(__file__).resolve().parents[3]
#: Where lines of a report are made. Of the engine, what the intake calls to see whether a checkpoint fits.
SOURCES = ["core/checks.py", "worker/confine.py", "worker/engine/networks.py", "worker/intake", "worker/readers"]
#: Calls whose first argument is an id, and those that name it by a keyword.
BY_PLACE = {"passed", "warn", "warned", "refuse"}
BY_NAME = {"Rejected": "code", "CheckLine": "id"}


def calls() -> Iterator[ast.Call]:
    for source in SOURCES:
        place = ROOT / source
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def given() -> set[str]:
    """Every id in the source."""
    found: set[str] = set(get_args(Verdict)) - {"done"}
    for call in calls():
        name = ast.unparse(call.func).removesuffix(".at").rpartition(".")[2]
        said = [word.value for word in call.keywords if word.arg == BY_NAME.get(name)]
        said += call.args[:1] if name in BY_PLACE else []
        found |= {node.value for node in said if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found


def listed(page: str, header: str) -> set[str]:
    """The ids in the first column of the tables of a page whose header begins so."""
    tables = re.findall(rf"^\| {header} \|.*\n\|.*\n((?:\|.*\n)+)", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert tables
    rows = [row for table in tables for row in table.splitlines()]
    return {id_ for row in rows for id_ in re.findall(r"`([a-z_]+)`", row.split("|")[1])}


def test_every_id_is_listed_and_every_listed_id_can_be_given() -> None:
    told = listed("teachers.md", "id") | listed("data.md", "check")
    assert len(told) > 80
    assert given() - told == set()
    assert told - given() == set()
