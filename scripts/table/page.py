"""The table as Markdown, and its place in docs/results.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from scripts.table.budget import Budget
from scripts.table.figures import WORSE, Figures, Row, gain, spread, verdict

_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"
_COLUMNS = (
    "loss", "family", "weight", "`hard`", "test accuracy %", "to `hard` alone", "agreement %", "training s", "verdict",
)  # fmt: skip
_NUM_WORDS = 2


@dataclass(frozen=True)
class Setting:
    """Where and how the figures came about."""

    date: str
    command: str
    versions: Mapping[str, str]
    machine: str
    at_once: int


@dataclass(frozen=True)
class Found:
    """All that the runs gave."""

    teacher_accuracy: float | None
    alone: Sequence[Figures]
    rows: Sequence[Row]
    left_out: Mapping[str, str]

    @property
    def faults(self) -> dict[str, str]:
        """By loss: why its row has no figures."""
        return {row.loss: row.fault for row in self.rows if row.fault is not None}


def text(found: Found, budget: Budget, setting: Setting) -> str:
    """Everything between the marks."""
    parts = [_head(budget, setting), _table(found), _reading(found)]
    if found.faults:
        parts.append("Failed:\n\n" + "\n".join(f"- `{loss}`: {why}" for loss, why in sorted(found.faults.items())))
    if found.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"- `{loss}`: {why}" for loss, why in found.left_out.items()))
    return "\n\n".join(parts)


def write(page: Path, content: str) -> None:
    """Put it between the two marks of the page; a page that has none becomes the content alone."""
    old = page.read_text() if page.exists() else ""
    marked = f"{_BEGIN}\n{content}\n{_END}"
    if _BEGIN in old and _END in old:
        before, _, rest = old.partition(_BEGIN)
        marked = f"{before}{marked}{rest.partition(_END)[2]}"
    else:
        marked += "\n"
    page.write_text(marked)


def _head(budget: Budget, setting: Setting) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions.items())
    seeds = f"{len(budget.seeds)} seed{'s' if len(budget.seeds) > 1 else ''}"
    return (
        f"{setting.date}, `{setting.command}`, {versions}, on {setting.machine}; {setting.at_once} "
        f"job{'s' if setting.at_once > 1 else ''} at once, one thread each.\n\n"
        f"Fashion-MNIST: the first {budget.rows:,} training images, a tenth of them for validation, and the first "
        f"{budget.test_rows:,} test images. The teacher is a resnet of depth 20 after {budget.teacher_epochs} epochs "
        f"on {budget.teacher_rows:,} images, the student one of depth 8 after {budget.epochs} epochs in batches of "
        f"{budget.batch_size}, without augmentation; the student of the last epoch counts. {seeds}; all else, weights "
        "included, is the default of the service."
    )


def _table(found: Found) -> str:
    lines = [list(_COLUMNS), ["---"] * _NUM_WORDS + ["--:"] * (len(_COLUMNS) - _NUM_WORDS - 1) + ["---"]]
    if found.teacher_accuracy is not None:
        lines.append(["*teacher*", "", "", "", f"{found.teacher_accuracy:.2%}".rstrip("%"), "", "", "", ""])
    alone = [run.accuracy for run in found.alone]
    if found.alone:
        seconds = mean(run.train_s for run in found.alone)
        lines.append(["*`hard` alone*", "", "", "1", _accuracy(alone), "", "", f"{seconds:.0f}", ""])
    lines += [_row(row, alone) for row in found.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(row: Row, alone: Sequence[float]) -> list[str]:
    start = [f"`{row.loss}`", row.family, f"{row.weight:g}", f"{row.hard:g}"]
    if row.fault is not None or not row.runs:
        return [*start, "", "", "", "", "failed"]
    agreement = "" if row.agreement is None else f"{100 * row.agreement:.1f}"
    difference = f"{100 * gain(row.accuracies, alone):+.2f}" if alone else ""
    words = verdict(row.accuracies, alone) if alone else "nothing to compare with"
    return [*start, _accuracy(row.accuracies), difference, agreement, f"{row.train_s:.0f}", words]


def _accuracy(values: Sequence[float]) -> str:
    deviation = spread(values)
    return f"{100 * mean(values):.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _reading(found: Found) -> str:
    alone = [run.accuracy for run in found.alone]
    verdicts = [verdict(row.accuracies, alone) for row in found.rows if alone and row.runs and row.fault is None]
    return (
        f"`hard` alone is the same student trained by labels, with the same seeds. {verdicts.count(WORSE)} of "
        f"{len(verdicts)} losses are below it on average. ± is the sample deviation over seeds. *No gain shown*: the "
        "difference is at most the deviation of a difference of two runs, sqrt(s² + s_alone²)."
    )
