"""What a step frees stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from torch import nn
from worker.engine.heap import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
torch.set_num_threads(1)
net = nn.Sequential(*(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(6)))
x = torch.randn(64, 8, 32, 32)


def step():
    net(x).square().mean().backward()


for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kind: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_pages_are_mapped_once() -> None:
    assert faults("kept") * 5 < faults("given back")
