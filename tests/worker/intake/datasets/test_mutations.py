"""Broken files of every format end in a verdict, never in a crash."""

import random
from pathlib import Path

import pytest

from scripts.corpus.mutate import in_bytes
from tests.worker.readers.good_uploads import good
from tests.worker.readers.uploads import verdict

UPLOADS = good()


@pytest.mark.parametrize("number", range(len(UPLOADS)))
def test_broken_files_get_a_verdict(tmp_path: Path, number: int) -> None:
    upload, task = UPLOADS[number]
    whole, _ = verdict(tmp_path / "good", upload, task)
    assert whole.ready, whole.report["checks"]
    rng, verdicts = random.Random(number), []
    for place in range(25):
        result, _ = verdict(tmp_path / str(place), in_bytes(upload, rng), task, max_bad_share=0.5)
        verdicts.append(result.ready)
        assert result.ready == (result.file is not None)
        assert all(line["detail"] for line in result.report["checks"])  # type: ignore[attr-defined]
    assert not all(verdicts), "the faults do not reach what is read"
