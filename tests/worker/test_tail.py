"""Reading a file that another process writes, line by line and never past what is safe."""

from pathlib import Path

import pytest

from worker.tail import Tail, end_of


def line(number: int) -> str:
    return f'{{"type": "progress", "data": {{"step": {number}}}}}\n'


def steps(tail: Tail) -> list[int]:
    lines, end = tail.read()
    tail.done(end)
    return [data["step"] for _, data in lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_nothing_is_read_before_there_is_a_file(path: Path) -> None:
    assert Tail(path).read() == ([], 0)
    assert Tail(path).size() == 0


def test_a_line_is_read_once_it_is_whole(path: Path) -> None:
    tail = Tail(path)
    path.write_text(line(1) + line(2)[:10])
    assert steps(tail) == [1]
    assert steps(tail) == []
    path.write_text(line(1) + line(2))
    assert steps(tail) == [2]


def test_what_is_not_yet_safe_is_read_again(path: Path) -> None:
    tail = Tail(path)
    path.write_text(line(1))
    first = tail.read()
    assert tail.read() == first
    tail.done(first[1])
    assert tail.read() == ([], first[1])


def test_a_long_backlog_comes_in_parts_and_in_order(path: Path) -> None:
    path.write_text("".join(line(number) for number in range(20_000)))
    tail = Tail(path)
    parts = []
    while part := steps(tail):
        parts.append(part)
    assert len(parts) > 1
    assert [step for part in parts for step in part] == list(range(20_000))


@pytest.mark.parametrize("broken", ["no json\n", '{"type": 1, "data": {}}\n', '{"type": "a"}\n', "[1]\n", "\n"])
def test_a_line_that_is_no_event_is_left_out(path: Path, broken: str) -> None:
    path.write_text(line(1) + broken + line(2))
    assert steps(Tail(path)) == [1, 2]


def test_a_line_without_end_does_not_stop_the_rest(path: Path) -> None:
    path.write_text("x" * 600_000 + "\n" + line(1))
    tail = Tail(path)
    found: list[int] = []
    for _ in range(4):
        found += steps(tail)
    assert found == [1]


def test_numbers_that_are_not_finite_become_null(path: Path) -> None:
    path.write_text('{"type": "metrics", "data": {"loss": NaN, "other": Infinity}}\n')
    assert Tail(path).read()[0] == [("metrics", {"loss": None, "other": None})]


def test_the_end_of_a_log_starts_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert end_of(log) == ""
    log.write_text("first\nsecond\nthird\n")
    assert end_of(log) == "first\nsecond\nthird\n"
    assert end_of(log, 9) == "third\n"
