"""A child that compiles its network dies with whoever started it, and nothing that compiled for it stays."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.engine import orders
from tests.worker.engine.conftest import Make
from worker.child import CODE

pytestmark = [
    pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler"),
    # The engine then trains uncompiled and says so, as it does where there is no compiler.
    pytest.mark.skipif(" " in sys.prefix, reason="torch hands its compiler paths that break at a blank"),
]

COMPILERS = {"c++", "g++", "cc1plus", "as", "collect2", "ld", "clang++", "clang"}
#: Starts the engine as a supervisor does, says its id, and waits.
PARENT = """
import sys, time
from pathlib import Path
from worker.child import Child, engine_command, environment
from worker.devices import Device
folder = Path(sys.argv[1])
with (folder / "log.txt").open("wb") as log:
    child = Child(
        engine_command("worker.engine.run", folder), cwd=folder, env=environment(Device("cpu", "cpu"), 1, folder),
        log=log.fileno(),
    )
print(child.pid, flush=True)
time.sleep(600)
"""


def group(pid: int) -> dict[int, str]:
    """The names of all processes in the group that are not over, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            name, _, rest = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue
        state, _, process_group, *_ = rest.split()
        if int(process_group) == pid and state != "Z":
            found[int(folder.name)] = name
    return found


def wait_for(is_so: Callable[[], object], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_so():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("moment", ["compiling", "training"])
def test_nothing_outlives_the_parent(make: Make, tmp_path: Path, moment: str) -> None:
    precision = {"name": "float32", "compile": True}
    make(
        student={"type": "mlp", "hidden": [8]},
        train={"epochs": 5000, "batch_size": 100, "control": False, "precision": precision},
    )
    folder = tmp_path / "work"
    env = {**os.environ, "PYTHONPATH": str(CODE)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], env=env, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        child = int(parent.stdout.readline())
        reached: dict[str, Callable[[], object]] = {
            "compiling": lambda: COMPILERS & set(group(child).values()),
            "training": lambda: (folder / "events.jsonl").exists() and orders.events(folder, "metrics"),
        }
        assert wait_for(reached[moment], 120), (folder / "log.txt").read_text()
        if moment == "training":
            assert set(group(child)) == {child}, "compiled in the child itself, by nobody who could stay"
            assert "not compiled" not in (folder / "log.txt").read_text()
            assert list(folder.glob("torchinductor_*")), "it was compiled"
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    assert wait_for(lambda: child not in group(child), 5)
    # A compiler that had just begun ends with the file that it was at.
    assert wait_for(lambda: not group(child), 30), group(child)
