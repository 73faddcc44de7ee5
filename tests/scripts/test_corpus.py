"""A part of `make corpus` and 500 files of `make fuzz`, each through the confined converter, as in a worker's check."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.corpus import fuzz, table
from scripts.corpus.all_cases import cases
from scripts.corpus.case import Case
from scripts.corpus.control import unsprung
from scripts.corpus.mutate import mutate
from scripts.corpus.run import Bench, Seen, bench
from scripts.corpus.weights import saved, state

#: Files of each group that are tried here.
_EACH = 6


@pytest.fixture(name="made", scope="module")
def _made() -> Iterator[Bench]:
    with bench() as made:
        yield made


def test_the_traps_spring_where_nothing_holds_them(made: Bench) -> None:
    assert unsprung(made) is None


def _part(all_cases: Iterator[Case]) -> list[Case]:
    """Some of each group, spread over it; what only a limit ends takes too long for here."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in all_cases:
        if not case.by_limit:
            groups[case.group].append(case)
    return [case for group in groups.values() for case in group[:: max(1, len(group) // _EACH)][:_EACH]]


@pytest.fixture(name="seen", scope="module")
def _seen(made: Bench) -> list[Seen]:
    return list(made.check_all(_part(cases(made.canary)), 2))


def test_the_hostile_are_refused_and_the_good_accepted(seen: list[Seen]) -> None:
    wrong = {f"{each.case.group} / {each.case.name}": each.violation() for each in seen if each.violation()}
    assert wrong == {}
    verdicts = Counter(each.is_ready for each in seen)
    assert verdicts[True] >= 25
    assert verdicts[False] >= 90


def test_the_table_counts_them(seen: list[Seen], tmp_path: Path) -> None:
    page = tmp_path / "security.md"
    page.write_text("before\n<!-- corpus: begin -->\nold\n<!-- corpus: end -->\nafter\n")
    text = table.text(seen, "make corpus", 1.0)
    table.write(page, "corpus", text)
    assert page.read_text() == f"before\n<!-- corpus: begin -->\n{text}\n<!-- corpus: end -->\nafter\n"
    refused = next(line for line in text.splitlines() if "has to be refused" in line).split("|")
    assert int(refused[2]) == int(refused[3]) == sum(not each.is_ready for each in seen)
    assert [cell.strip() for cell in refused[4:7]] == ["0", "0", "0"]


def test_five_hundred_mutants_end_in_verdicts(made: Bench) -> None:
    seen = list(fuzz.run(made, 500, 3, 2))
    assert {each.case.name: fuzz.wrong(each) for each in seen if fuzz.wrong(each)} == {}
    ends = Counter(each.outcome.verdict for each in seen)
    assert ends["done"] >= 490, ends
    assert 25 < sum(each.is_ready for each in seen) < 400, "the faults have to reach what is read, and not all of it"


def test_the_same_seed_makes_the_same_mutants() -> None:
    first, again = ([case.make() for case in fuzz.mutants(24, 9)] for _ in range(2))
    assert [len(content) for content in first] == [len(content) for content in again]
    good = saved(state())
    assert mutate(good, random.Random(1)) == mutate(good, random.Random(1))
    assert mutate(good, random.Random(1)) != good
