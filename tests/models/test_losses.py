"""What every loss on the menu says of itself: the catalog and the docs page are made of it."""

import re

import pytest
from pydantic_core import PydanticUndefined

from models.spec.losses.menu import ENTRIES, tag
from models.spec.losses.term import LossTerm, TapPair

each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=tag)
#: Fields whose meaning is said once for all, or by the name of the loss.
_COMMON = {"type", "weight", "T"}


def made(entry: type[LossTerm]) -> LossTerm:
    """With its defaults; taps where there is no way but to name them."""
    required = entry.model_fields.get("taps")
    named = required is not None and required.is_required()
    taps = {"taps": [TapPair(student="a", teacher="b")]} if named else {}
    return entry.model_validate(taps)


@each_entry
def test_formula_paper_and_use_are_said(entry: type[LossTerm]) -> None:
    assert entry.__doc__
    assert entry.__doc__.strip().endswith((".", ")"))
    assert len(entry.formula) > 10
    assert re.search(r"\b(19|20)\d\d\b", entry.paper), "a source has a year"
    assert entry.use_when.endswith(".")


@each_entry
def test_arxiv_numbers_are_of_about_the_year_that_is_said(entry: type[LossTerm]) -> None:
    """A paper may be published a year or two after it was put there, and sometimes it is put there late."""
    for number in re.findall(r"arXiv:(\S+?)[,;. )]*(?:\s|$)", entry.paper):
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number), number
    sources = re.findall(r"\b((?:19|20)\d\d)\b[^;]*?arXiv:(\d\d)\d\d\.", entry.paper)
    for year, put in sources:
        assert -1 <= int(year) - (2000 + int(put)) <= 2, (year, put)


@each_entry
def test_every_field_says_what_it_is_and_has_a_default_within_its_bounds(entry: type[LossTerm]) -> None:
    term = made(entry)
    for name, field in entry.model_fields.items():
        assert name in _COMMON or field.description, name
        if field.default is not PydanticUndefined and not name.startswith("type"):
            assert entry.model_validate({**made(entry).model_dump(), name: getattr(term, name)}) == term


@each_entry
def test_a_default_weight_says_where_it_comes_from(entry: type[LossTerm]) -> None:
    weight = entry.model_fields["weight"].default
    if weight != 1:
        said = f"{entry.paper} {entry.use_when}"
        assert re.search(rf"(?<![\d.]){weight:g}(?![\d.]*\d)", said), f"nothing is said of {weight:g}"


@each_entry
def test_what_compares_labels_or_outputs_reads_no_features_that_it_does_not_name(entry: type[LossTerm]) -> None:
    assert entry.needs_taps == ("taps" in entry.model_fields)
    assert entry.tasks
    assert entry.hard_beside >= 0
