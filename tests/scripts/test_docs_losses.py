"""docs/losses.md is what the menu says."""

import re

import pytest

from models.spec.losses.menu import ENTRIES, tag
from models.spec.losses.response import KD
from models.spec.losses.term import LossTerm
from scripts.docs_losses import PAGE, page


def test_the_page_is_what_the_menu_says() -> None:
    assert PAGE.read_text() == page(), "run `make docs-losses`"


@pytest.mark.parametrize("entry", ENTRIES, ids=tag)
def test_every_loss_tells_all_that_the_page_has_a_place_for(entry: type[LossTerm]) -> None:
    assert entry.formula
    assert entry.paper
    assert entry.use_when
    assert entry.tasks
    for name, field in entry.model_json_schema()["properties"].items():
        assert "description" in field or name in {"type", "weight"}, f"{name} has no description"
    [section] = re.findall(rf"^### {tag(entry)}\n(.*?)(?=^##|\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert entry.formula in section
    assert len(re.findall(rf"^\| \[`{tag(entry)}`\]\(#{tag(entry)}\) \|", PAGE.read_text(), flags=re.MULTILINE)) == 1


def test_a_change_of_the_menu_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    before = page()
    monkeypatch.setattr(KD, "hard_beside", 0.25)
    assert "| 0.9 | 0.25 |" in page()
    assert page() != before


def test_bounds_are_in_words() -> None:
    said = page()
    assert "| `T` | `4` | above 0, at most 1,000 |" in said
    assert "| `masked` | `0.65` | at least 0, below 1 |" in said
    assert "| `standardize` | `false` | true or false |" in said
    assert "| `measure` | `mse` | `mse`, `cosine` |" in said
    assert "| `taps` | *required* | 1 to 16 of {student, teacher} |" in said
    assert "| `top_k` | `null` | a whole number, at least 1, at most 1,000,000 or null |" in said
