"""The machine's devices, found without torch, and who holds which.

torch stays out because asking it for a GPU in a process that forks later breaks CUDA in every child. A device is held
by a lock on a file of the data folder: the kernel drops it with the process that held it, whatever ended that.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings

_NVIDIA_PROC = Path("/proc/driver/nvidia/gpus")
#: Longer than `is_free` holds a lock while it looks.
_LOOK_S = 0.05


@dataclass(frozen=True)
class Device:
    """One place for one job. `visible` is the value of CUDA_VISIBLE_DEVICES: empty on the CPU."""

    name: str
    kind: str
    visible: str = ""


CPU = Device("cpu", "cpu")


def devices(settings: Settings) -> list[Device]:
    """The devices to run jobs on: as set, else every GPU, else the CPU as one device."""
    wish = settings.devices.strip()
    if wish == "auto":
        return [_gpu(name) for name in _visible_gpus()] or [CPU]
    if wish == "cpu":
        return [CPU]
    if not re.fullmatch(r"\d+(,\d+)*", wish):
        raise ValueError(f"DISTILLERY_DEVICES must be `auto`, `cpu` or GPU numbers such as `0,1`, got {wish!r}")
    return [_gpu(number) for number in dict.fromkeys(wish.split(","))]


def threads_of_job(settings: Settings, num_devices: int) -> int:
    """CPU threads for one job: as set, else an equal share of the cores that this process may use."""
    return settings.threads or max(1, len(os.sched_getaffinity(0)) // num_devices)


@contextmanager
def held(folder: Path, name: str) -> Iterator[bool]:
    """Hold the lock `name` for the time of the block; False where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_free(folder: Path, name: str) -> bool:
    """Whether nobody holds the lock `name` just now."""
    with held(folder, name) as free:
        return free


@contextmanager
def one_of(folder: Path, names: list[str]) -> Iterator[str | None]:
    """Hold the first free lock of `names` for the time of the block; None where all are taken."""
    with ExitStack() as stack:
        for again in (False, True):
            if again:
                time.sleep(_LOOK_S)
            for name in names:
                if stack.enter_context(held(folder, name)):
                    yield name
                    return
        yield None


def _gpu(visible: str) -> Device:
    return Device(f"cuda-{visible}", "cuda", visible)


def _visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, as for torch; without it every GPU that the driver lists, by number."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in {"", "-1"}]
    return [str(number) for number in range(_listed_by_smi() or _listed_by_driver())]


def _listed_by_smi() -> int:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return 0
    try:
        listing = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(re.findall(r"^GPU \d+:", listing.stdout, flags=re.MULTILINE))


def _listed_by_driver() -> int:
    return sum(1 for _ in _NVIDIA_PROC.iterdir()) if _NVIDIA_PROC.is_dir() else 0
