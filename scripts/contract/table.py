"""What a run gave, as the tables that are printed and that docs/security.md carries."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from scripts.contract.tally import Dropped, Tally

#: Requests by method, route and status.
Answered = Mapping[tuple[str, str, int], int]


def since(before: Answered, after: Answered) -> Answered:
    """What came between two looks."""
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


def faults(answered: Answered) -> int:
    """Answers that say that the service failed."""
    return sum(count for (_, _, status), count in answered.items() if status >= 500)


def operations(document: dict[str, Any]) -> dict[str, set[int]]:
    """The statuses that each operation is documented to answer with."""
    return {
        operation["operationId"]: set(map(int, operation["responses"]))
        for methods in document["paths"].values()
        for operation in methods.values()
    }


def unreached(document: dict[str, Any], tally: Tally) -> list[str]:
    """The operations that nothing good was ever had of."""
    reached = {operation for operation, status in tally.answers if 200 <= status < 300}
    return sorted(operations(document).keys() - reached)


def text(answered: Answered, document: dict[str, Any], tally: Tally, head: str) -> str:
    """Markdown: the answers by the first digit of their status, what was dropped, and what was never met."""
    by_class: Counter[int] = Counter()
    statuses: dict[int, set[int]] = {}
    for (_, _, status), count in answered.items():
        by_class[status // 100] += count
        statuses.setdefault(status // 100, set()).add(status)
    rows = [f"| {kind}xx | {by_class[kind]:,} | {_listed(statuses.get(kind, set()))} |" for kind in range(2, 6)]
    return "\n".join(
        [
            *(head, "", "| answers | requests | which |", "| --- | --: | --- |", *rows, ""),
            *(f"Operations that never answered 2xx: {_listed(unreached(document, tally))}.", ""),
            *(_dropped(tally.dropped), "", _unmet(document, tally)),
        ]
    )


def head(command: str, requests: int, operations: int, *, seeds: int, seconds: float) -> str:
    """What was run, and when."""
    day, rounds = time.strftime("%Y-%m-%d", time.gmtime()), f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    told = f"{requests:,} requests to {operations} operations in {seconds:.0f} s"
    return f"{day}, `{command}`: {told}, {rounds}, all checks on, with a key."


def _dropped(dropped: Dropped) -> str:
    """By rule: where, with which codes, how often."""
    by_rule: dict[str, Dropped] = {}
    for key, count in dropped.items():
        by_rule.setdefault(key[0], Counter())[key] = count
    lines = ["| findings that are none | of | answers | times |", "| --- | --- | --- | --: |"]
    for rule, found in sorted(by_rule.items(), key=lambda each: -each[1].total()):
        where = _listed({operation for _, operation, _, _ in found})
        what = _listed({f"{status} `{code}`" if code else str(status) for _, _, status, code in found})
        lines.append(f"| {rule} | {where} | {what} | {found.total():,} |")
    return "\n".join([*lines, f"| **all** | | | {dropped.total():,} |"])


def _unmet(document: dict[str, Any], tally: Tally) -> str:
    """The refusals that are documented and that no request has met, by status."""
    met = tally.answers.keys()
    unmet = {
        (name, status)
        for name, said in operations(document).items()
        for status in said
        if 400 <= status < 500 and (name, status) not in met
    }
    documented = sum(400 <= status < 500 for said in operations(document).values() for status in said)
    by_status: dict[int, set[str]] = {}
    for name, status in unmet:
        by_status.setdefault(status, set()).add(name)
    lines = [f"Refusals that are documented: {documented}, of which {documented - len(unmet)} were met. Not met:", ""]
    for status, names in sorted(by_status.items()):
        lines.append(f"- {status}: {_listed(names) if len(names) <= _FEW else f'{len(names)} operations'}")
    return "\n".join(lines)


#: More are told as a number.
_FEW = 6


def limited(tally: Tally) -> str:
    """What came of the limits, in a sentence."""
    by_code: Counter[str] = Counter()
    timed: Counter[str] = Counter()
    for (_, code, says_when), count in tally.limited.items():
        by_code[code] += count
        timed[code] += count if says_when else 0
    where = len({operation for operation, _, _ in tally.limited})
    told = [f"{count} `{code}` ({timed[code]} with Retry-After)" for code, count in sorted(by_code.items())]
    total, asked = tally.limited.total(), tally.answers.total()
    head = f"With limits on: {asked} requests, of which {total} were answered 429, by {where} operations"
    return f"{head}: {', '.join(told)}."


def _listed(things: set[int] | set[str] | list[str]) -> str:
    return ", ".join(map(str, sorted(things))) or "none"
