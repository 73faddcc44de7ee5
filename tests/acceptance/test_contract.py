"""A short round of `make contract`: requests made from the OpenAPI document, each answer held against it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_service_answers_is_what_its_document_says() -> None:
    command = [sys.executable, "-m", "scripts.contract", "--quick"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    told = re.search(r"([\d,]+) requests to (\d+) operations", ended.stdout)
    assert told is not None
    assert int(told[1].replace(",", "")) > 4 * int(told[2]), "it did ask"
    beyond = re.search(r"With limits on: (\d+) requests, of which (\d+) were answered 429", ended.stdout)
    assert beyond is not None
    assert 0 < int(beyond[2]) < int(beyond[1]), "some were served, some refused"
