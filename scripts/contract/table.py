"""What a run gave, as the table that is printed and that docs/security.md carries."""

import time
from collections import Counter
from collections.abc import Mapping

#: Requests by method, route and status.
Answered = Mapping[tuple[str, str, int], int]


def since(before: Answered, after: Answered) -> Answered:
    """What came between two looks."""
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


def faults(answered: Answered) -> int:
    """Answers that say that the service failed."""
    return sum(count for (_, _, status), count in answered.items() if status >= 500)


def text(answered: Answered, operations: int, command: str, *, seeds: int, seconds: float) -> str:
    """Markdown: a line for the answers of each first digit of their status."""
    total = sum(answered.values())
    by_class: Counter[int] = Counter()
    statuses: dict[int, set[int]] = {}
    for (_, _, status), count in answered.items():
        by_class[status // 100] += count
        statuses.setdefault(status // 100, set()).add(status)
    rows = [f"| {kind}xx | {by_class[kind]:,} | {_listed(statuses.get(kind, set()))} |" for kind in range(2, 6)]
    head = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, `{command}`: {total:,} requests to {operations} operations in "
        f"{seconds:.0f} s, {seeds} {'seed' if seeds == 1 else 'seeds'}, all checks on, with a key."
    )
    return "\n".join([head, "", "| answers | requests | which |", "| --- | --: | --- |", *rows])


def _listed(statuses: set[int]) -> str:
    return ", ".join(map(str, sorted(statuses))) or "none"
