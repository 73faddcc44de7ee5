"""The whole corpus."""

from collections.abc import Iterator

from scripts.corpus import archives, checkpoints, graphs, shared, sounds, tables, texts, zips
from scripts.corpus.case import Canary, Case


def cases(canary: Canary) -> Iterator[Case]:
    """Every file, hostile and good, of the shared corpora and of our own making."""
    yield from shared.cases()
    for made in (checkpoints, zips, graphs, archives, sounds, tables, texts):
        yield from made.cases(canary)
