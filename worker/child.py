"""The child that does the torch work: how it is started, asked to stop, killed, and what is known of its end."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker import launch
from worker.devices import Device

_CODE = Path(__file__).resolve().parents[1]

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


class Child:
    """`python -m MODULE WORKDIR` in a session of its own, its output appended to WORKDIR/log.txt.

    It dies with the thread that made it; see worker.launch.
    """

    def __init__(self, module: str, workdir: Path, device: Device, threads: int) -> None:
        with (workdir / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                launch.command([sys.executable, "-m", module, str(workdir)]),
                cwd=workdir,
                env=environment(device, threads, workdir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.ended: Ended | None = None

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def poll(self) -> Ended | None:
        """How it ended; None while it runs. What it left running in its group is killed."""
        if self.ended is None:
            # Seen, but not yet reaped: until then nobody else can get this id, so the group is surely the child's.
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None:
                self._kill_group()
                _, status, usage = os.wait4(self.pid, 0)
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.ended = Ended(self._process.returncode, usage.ru_maxrss * 1024)
        return self.ended

    def ask_to_stop(self) -> None:
        """SIGTERM, to the child alone: it needs its own helpers to write a checkpoint."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> Ended:
        """SIGKILL to the whole group, and wait for the end."""
        while (ended := self.poll()) is None:
            self._kill_group()
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return ended

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


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
        "PYTHONPATH": str(_CODE),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(home),
    }
