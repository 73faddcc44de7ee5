"""`make fuzz`: mutated checkpoints, graphs, archives, arrays and tables, each through the confined converter.

A file may be accepted, refused with a sentence, or end in a verdict of the parent's: crashed, out of time, beyond a
limit. Never may the parent raise, the canary be touched, a limit be passed, or the child leave no verdict. A crash is
no violation (it is what the confinement is for), but it is printed: it is a sentence that the user does not get.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from scripts.corpus import archives, checkpoints, graphs, sounds, table, tables, texts
from scripts.corpus.case import Case
from scripts.corpus.mutate import mutate
from scripts.corpus.run import Bench, Seen, bench

#: Good files that are quick to check; what takes seconds is for the corpus.
_SLOW = {"five thousand columns of one name", "2 MB of comment before the samples"}
_KINDS = {
    "good checkpoints": "checkpoints",
    "good graphs": "ONNX graphs",
    "good images": "archives of images",
    "good recordings": "archives of sounds",
    "good tables and arrays": "tables and arrays",
    "good texts": "tables of texts",
}
_ENDS = ("done", "crashed", "too_slow", "too_much_memory", "too_much_disk")


def seeds() -> dict[str, list[tuple[Case, bytes]]]:
    """Good files by kind."""
    found: dict[str, list[tuple[Case, bytes]]] = {kind: [] for kind in _KINDS.values()}
    for made in (checkpoints, graphs, archives, sounds, tables, texts):
        for case in made.good():
            if case.name not in _SLOW:
                found[_KINDS[case.group]].append((case, case.make()))
    return found


def mutants(num: int, seed: int) -> Iterator[Case]:
    """`num` of them, the kinds in turn; the same for the same seed."""
    good = seeds()
    kinds = list(good)
    for place in range(num):
        rng = random.Random(f"{seed}-{place}")  # noqa: S311 - it has to repeat
        kind = kinds[place % len(kinds)]
        case, content = rng.choice(good[kind])
        broken = mutate(content, rng)
        yield replace(case, group=kind, name=f"{case.name} #{place}", make=partial(bytes, broken), by_limit=True)


def wrong(seen: Seen) -> str | None:
    """What may never be; see the module."""
    if (harm := seen.harm()) is not None:
        return harm
    return None if seen.is_ready or len(seen.detail.split()) >= 5 else f"no sentence: {seen.code}"


def text(ends: dict[str, Counter[str]], codes: Counter[str], head: str) -> str:
    """Markdown: a line a kind."""
    columns = ["mutated", "files", "accepted", "refused", *_ENDS[1:], "violations"]
    rows = [[kind, *(str(count[name]) for name in columns[1:])] for kind, count in ends.items()]
    total = sum(ends.values(), Counter[str]())
    rows.append(["**all**", *(str(total[name]) for name in columns[1:])])
    shown = [name.replace("_", " ") for name in columns]
    lines = [shown, ["---"] + ["--:"] * (len(columns) - 1), *rows]
    most = ", ".join(f"`{code}` {num}" for code, num in codes.most_common(12))
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{head}\n\n{grid}\n\nRefused for: {most}."


def run(made: Bench, num: int, seed: int, at_once: int) -> Iterator[Seen]:
    """The mutants' ends, in order."""
    batch = 500  # so that not all of them lie in memory
    waiting: list[Case] = []
    for case in mutants(num, seed):
        waiting.append(case)
        if len(waiting) == batch:
            yield from made.check_all(waiting, at_once)
            waiting = []
    if waiting:
        yield from made.check_all(waiting, at_once)


def _count(ends: dict[str, Counter[str]], codes: Counter[str], seen: Seen) -> None:
    count = ends.setdefault(seen.case.group, Counter())
    verdict = seen.outcome.verdict
    end = verdict if verdict != "done" else "accepted" if seen.is_ready else "refused"
    count.update({"files": 1, end: 1, "violations": int(wrong(seen) is not None)})
    if end == "refused":
        codes[seen.code] += 1


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the files that crashed the converter")
    parser.add_argument("--write", type=Path, help="the page that carries the table")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each crash and each violation, then the table; 1 where there was a violation."""
    given = _arguments(arguments)
    console, started = Console(), time.monotonic()
    ends: dict[str, Counter[str]] = {}
    codes: Counter[str] = Counter()
    longest = 0.0
    with bench() as made:
        for seen in run(made, given.num, given.seed, given.at_once):
            _count(ends, codes, seen)
            longest = max(longest, seen.outcome.seconds)
            fault = wrong(seen)
            if fault is not None or seen.outcome.verdict == "crashed":
                console.print(f"{seen.case.group} / {seen.case.name}: {fault or 'crashed'}", markup=False, style="red")
                console.print(seen.outcome.log[-600:], markup=False, highlight=False)
                if given.keep is not None:
                    given.keep.mkdir(exist_ok=True)
                    (given.keep / seen.case.name.replace("/", " ")).write_bytes(seen.case.make())
    minutes = (time.monotonic() - started) / 60
    head = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, `make fuzz N={given.num} SEED={given.seed}`: {given.num:,} files "
        f"in {minutes:.1f} minutes; the longest check took {longest:.1f} s."
    )
    found = text(ends, codes, head)
    console.print(Markdown(found))
    if given.write is not None:
        table.write(given.write, "fuzz", found)
    return 1 if sum(count["violations"] for count in ends.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
