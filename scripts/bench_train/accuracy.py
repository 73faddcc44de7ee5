"""What students of equal epochs know: the engine's beside torchdistill's, several seeds each, on the test rows."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from scripts.bench_train import engine, loops
from scripts.bench_train.orders import Pair

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Compared:
    """Accuracies by seed."""

    ours: list[float]
    theirs: list[float]

    @property
    def spread(self) -> float:
        """From the worst seed to the best, of the side where they lie further apart."""
        return max(max(side) - min(side) for side in (self.ours, self.theirs))

    @property
    def difference(self) -> float:
        """Ours less theirs, of the means."""
        return mean(self.ours) - mean(self.theirs)

    @property
    def holds(self) -> bool:
        """Whether ours is not below theirs by more than seeds differ."""
        return self.difference >= -self.spread


def compare(pair: Pair, device: str, arithmetic: dict[str, Any], epochs: int, train: dict[str, Any]) -> Compared:
    """Trains each seed on either side, taking turns."""
    ours, theirs = [], []
    for seed in SEEDS:
        report = engine.run(pair, device, arithmetic, epochs=epochs, seed=seed, **train).report
        ours.append(report["test"]["student"]["accuracy"])
        theirs.append(loops.torchdistill_accuracy(pair, epochs, seed))
    return Compared(ours, theirs)


def told(pair: Pair, epochs: int, compared: Compared) -> str:
    """One line."""
    sides = [
        f"{name} {mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"
        for name, values in (("engine", compared.ours), ("torchdistill", compared.theirs))
    ]
    verdict = "not below by more than the seeds' spread" if compared.holds else "  MISSED: below by more than that"
    return (
        f"{pair.name}: accuracy on {pair.given.meta.counts['test']:,} test rows after {epochs} epochs, {len(SEEDS)} "
        f"seeds: {', '.join(sides)}; {compared.difference * 100:+.2f} points, {verdict} "
        f"({compared.spread * 100:.2f} points)"
    )
