"""What a step frees stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from worker.engine.heap import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
blocks = [torch.ones(3 * 2**18) for _ in range(8)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [torch.ones(3 * 2**18) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kind: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_pages_are_mapped_once() -> None:
    assert faults("kept") * 5 < faults("given back")
