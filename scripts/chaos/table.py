"""What a run found, as the table that is printed and that docs/reliability.md carries."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_BEGIN, _END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
#: By the words that violations are filed under.
_COLUMNS = {
    "lost": "jobs lost",
    "doubled": "doubled",
    "changed": "changed after terminal",
    "zombie": "zombie writes accepted",
    "differs": "student differs",
}
_OTHER = "other violations"


@dataclass(frozen=True)
class Outcome:
    """One trial."""

    number: int
    fault: str
    phase: str
    landed: bool
    jobs: int
    recovery_s: float | None
    lost_work_s: float | None
    cancelled_in_s: float | None
    zombie_writes: int
    seconds: float
    violations: list[tuple[str, str]]


@dataclass
class Run:
    """All trials of a run."""

    command: str
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def num_violations(self) -> int:
        """Of all kinds."""
        return sum(len(outcome.violations) for outcome in self.outcomes)

    def text(self) -> str:
        """Markdown."""
        faults = sorted({outcome.fault for outcome in self.outcomes})
        rows = [_row(fault, [each for each in self.outcomes if each.fault == fault]) for fault in faults]
        rows.append(_row("**all**", self.outcomes))
        head = ["fault", "trials", "in time", *_COLUMNS.values(), _OTHER, "recovery s p50 / p95 / max"]
        lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self._head()}\n\n{table}\n\n{self._foot()}"

    def _head(self) -> str:
        trials, jobs = len(self.outcomes), sum(outcome.jobs for outcome in self.outcomes)
        bad = sum(1 for outcome in self.outcomes if outcome.violations)
        return (
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, `{self.command}`: {trials} trials with {jobs} jobs in "
            f"{sum(outcome.seconds for outcome in self.outcomes) / 60:.0f} minutes, {bad} with a violation"
            + (f"; the true share is below {100 * _bound(trials):.2f} % at 95 % confidence." if not bad else ".")
        )

    def _foot(self) -> str:
        cancels = [each.cancelled_in_s for each in self.outcomes if each.cancelled_in_s is not None]
        works = [each.lost_work_s for each in self.outcomes if each.lost_work_s is not None]
        lines = [
            f"Cancel to process gone: {_spread(cancels)} s (p50 / p95 / max of {len(cancels)}).",
            f"Training since the last checkpoint that was kept, at a kill: {_spread(works)} s ({len(works)}).",
            f"Writes tried with the token of an attempt that was over: {sum(o.zombie_writes for o in self.outcomes)}.",
            *(f"Left out: {fault}, because {reason}." for fault, reason in self.skipped.items()),
        ]
        return "\n".join(lines)

    def write(self, page: Path) -> None:
        """Put it between the two marks of the page."""
        before, _, rest = page.read_text().partition(_BEGIN)
        _, _, after = rest.partition(_END)
        page.write_text(f"{before}{_BEGIN}\n{self.text()}\n{_END}{after}")


def _row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    kinds = [kind for outcome in outcomes for kind, _ in outcome.violations]
    counts = [str(kinds.count(kind)) for kind in _COLUMNS]
    other = str(sum(kind not in _COLUMNS for kind in kinds))
    recoveries = [outcome.recovery_s for outcome in outcomes if outcome.recovery_s is not None]
    landed = str(sum(outcome.landed for outcome in outcomes))
    return [name.replace("_", " "), str(len(outcomes)), landed, *counts, other, _spread(recoveries)]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    return " / ".join(f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.1f}" for share in (0.5, 0.95, 1.0))


def _bound(trials: int) -> float:
    """The upper 95 % limit of a share of which none was seen in so many trials: 1 - 0.05^(1/n)."""
    return float(1 - 0.05 ** (1 / max(1, trials)))
