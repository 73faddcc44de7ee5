"""The files of the shared corpora: fixtures of public scanners of pickles, and two small graphs. Never unpickled."""

import csv
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.corpus.case import GRAPH, RESNET8, Case

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def cases() -> Iterator[Case]:
    """Nothing where the folder is not there. None of the scanners' fixtures is a network, so all are refused."""
    corpus = DATA / "pickle-corpus"
    if corpus.exists():
        with (corpus / "manifest.csv").open() as manifest:
            rows = list(csv.DictReader(manifest))
        for row in rows:
            make = partial(_member, corpus / "pickle-corpus.zip", row["file"])
            hostile = row["label"].startswith("malicious")
            group = "shared: hostile pickles" if hostile else "shared: harmless files that are no teacher"
            yield Case(group, row["file"], make, spec=RESNET8)
    for path in sorted((DATA / "checkpoint-samples").glob("*.onnx")):
        yield Case("shared: good graphs", path.name, path.read_bytes, spec=GRAPH, expected="accepted")


def _member(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)
