"""What a run over the corpus found, as the table that is printed and that docs/security.md carries."""

import time
from collections.abc import Sequence
from pathlib import Path

from scripts.corpus.run import LIMITS, Seen

_COLUMNS = ("files", "refused", "accepted", "canary touched", "over limits", "s at most", "MiB at most")


def text(seen: Sequence[Seen], command: str, seconds: float) -> str:
    """Markdown: a line a group in the order of the corpus, hostile ones first."""
    groups = list(dict.fromkeys(each.case.group for each in seen))
    hostile, good = ([g for g in groups if _is_good(g, seen) is wanted] for wanted in (False, True))
    rows = [_row(group, [each for each in seen if each.case.group == group]) for group in hostile]
    rows.append(_row("**all that has to be refused**", [each for each in seen if each.case.expected == "refused"]))
    rows += [_row(group, [each for each in seen if each.case.group == group]) for group in good]
    rows.append(_row("**all that has to be accepted**", [each for each in seen if each.case.expected == "accepted"]))
    head = ["", *_COLUMNS]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_head(seen, command, seconds)}\n\n{table}"


def _head(seen: Sequence[Seen], command: str, seconds: float) -> str:
    bad = sum(each.violation() is not None for each in seen)
    gaps = sorted({line.split(":")[0] for each in seen for line in each.outcome.warnings})
    machine = f"not taken away on that machine: {', '.join(gaps)}" if gaps else "confined in every way"
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, `{command}`: {len(seen)} files in {seconds:.0f} s, {bad} with a "
        f"violation. Limits of a check: {LIMITS.wall_s:.0f} s, {LIMITS.memory_bytes / 2**30:.0f} GiB of memory, "
        f"{LIMITS.file_bytes / 2**30:.0f} GiB on the disk; {machine}."
    )


def _is_good(group: str, seen: Sequence[Seen]) -> bool:
    return all(each.case.expected == "accepted" for each in seen if each.case.group == group)


def _row(name: str, seen: Sequence[Seen]) -> list[str]:
    ready = sum(each.is_ready for each in seen)
    counts = (
        len(seen),
        len(seen) - ready,
        ready,
        sum(each.touched is not None for each in seen),
        sum(each.over is not None for each in seen),
    )
    seconds = max((each.outcome.seconds for each in seen), default=0.0)
    peak = max((each.outcome.peak_bytes for each in seen), default=0) / 2**20
    return [name, *map(str, counts), f"{seconds:.1f}", f"{peak:,.0f}"]


def write(page: Path, part: str, content: str) -> None:
    """Put it between the two marks of that part of the page."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{content}\n{end}{after}")
