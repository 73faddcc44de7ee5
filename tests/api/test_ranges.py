"""Range and conditional requests, header by header."""

import pytest

from api.ranges import Part, Unsatisfiable, not_modified, wanted
from core.errors import PreconditionFailed

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-3", 0, 4),
        ("bytes=4-", 4, 10),
        ("bytes=-3", 7, 10),
        ("bytes=-99", 0, 10),
        ("bytes=8-99", 8, 10),
        ("bytes=0-", 0, 10),
        # What a server may ignore: several ranges, other units, nonsense.
        ("bytes=0-1,4-5", 0, 10),
        ("items=0-1", 0, 10),
        ("bytes=5-2", 0, 10),
        ("bytes=-", 0, 10),
        ("bytes=x-y", 0, 10),
    ],
)
def test_one_range_of_ten_bytes(header: str, start: int, end: int) -> None:
    assert wanted({"range": header}, ETAG, 10) == Part(start, end, 10)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_outside_the_file(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted({"range": header}, ETAG, 10)


@pytest.mark.parametrize(("if_range", "whole"), [(ETAG, False), ('"old"', True), (f"W/{ETAG}", True)])
def test_if_range_names_the_version(if_range: str, whole: bool) -> None:
    assert wanted({"range": "bytes=2-", "if-range": if_range}, ETAG, 10).is_whole is whole


def test_if_none_match_compares_weakly_and_if_match_strongly() -> None:
    assert not_modified({"if-none-match": f'"x", W/{ETAG}'}, ETAG)
    assert not_modified({"if-none-match": "*"}, ETAG)
    assert not not_modified({"if-none-match": '"x"'}, ETAG)
    assert not not_modified({}, ETAG)
    assert not not_modified({"if-match": ETAG}, ETAG)
    with pytest.raises(PreconditionFailed):
        not_modified({"if-match": f"W/{ETAG}"}, ETAG)
    with pytest.raises(PreconditionFailed):
        not_modified({"if-match": ""}, ETAG)
    with pytest.raises(PreconditionFailed):
        not_modified({"if-match": '*, "other"'}, ETAG)
