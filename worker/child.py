"""A child that does the torch work: how it is started, asked to stop, killed, and what is known of its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker import launch
from worker.devices import Device

CODE = Path(__file__).resolve().parents[1]

#: What a child may know of our environment: nothing that names a database, a broker, a bucket or a key.
_PASSED_ON = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "PYTORCH_", "TORCH_", "MKL_", "KMP_")


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, negative for a signal, and the most memory it held, in bytes."""

    exit_code: int
    peak_bytes: int

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that ended it."""
        return signal.Signals(-self.exit_code) if self.exit_code < 0 else None


class Running(Protocol):
    """A child in a session of its own, whoever started it."""

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""

    def poll(self) -> Ended | None:
        """How it ended; None while it runs. What it left running in its group is killed."""

    def ask_to_stop(self) -> None:
        """SIGTERM, to the child alone: it needs its own helpers to write a checkpoint."""

    def kill(self) -> Ended:
        """SIGKILL to the whole group, and wait for the end."""


class Child:
    """A command as our own child, in a session of its own, its output in `log`."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: int, pass_fds: Sequence[int] = ()
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._ended: Ended | None = None

    @property
    def pid(self) -> int:
        """See Running."""
        return self._process.pid

    def poll(self) -> Ended | None:
        """See Running."""
        if self._ended is None:
            # Seen, but not yet reaped: until then nobody else can get this id, so the group is surely the child's.
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None:
                self._ended = reap(self.pid)
                self._process.returncode = self._ended.exit_code
        return self._ended

    def ask_to_stop(self) -> None:
        """See Running."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> Ended:
        """See Running."""
        while (ended := self.poll()) is None:
            kill_group(self.pid)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return ended


def engine_command(module: str, workdir: Path) -> list[str]:
    """`python -m MODULE WORKDIR`, which dies with the thread that starts it; see worker.launch."""
    return launch.command([sys.executable, "-m", module, str(workdir)])


def reap(pid: int) -> Ended:
    """End what a child that has ended left in its group, and let the child go."""
    kill_group(pid)
    _, status, usage = os.wait4(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)


def kill_group(pid: int) -> None:
    """SIGKILL to all of the group that a child of ours leads, which must not be reaped yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def environment(device: Device, threads: int, home: Path) -> dict[str, str]:
    """All that a child of the worker sees of the environment."""
    passed = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    return passed | {
        "CUDA_VISIBLE_DEVICES": device.visible,
        "HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(CODE),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(home),
        # What is compiled is compiled in the child itself: no helpers that could outlive it. Its cache is in TMPDIR.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
