"""The workers: two, each with a data folder of its own, as on two machines. What dies is started again."""

import subprocess
import sys
from pathlib import Path

from scripts.chaos.processes import family
from scripts.stack import Stack
from worker import launch

_REPOSITORY = Path(__file__).resolve().parents[2]


class Hosts:
    """The stack's own worker, and one more."""

    def __init__(self, stack: Stack, second: Path) -> None:
        self._stack = stack
        self._second = second
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folders(self) -> list[Path]:
        """Their data folders."""
        return [self._stack.data_dir, self._second]

    @property
    def mains(self) -> list[int]:
        """Their parent processes."""
        second = [self._process.pid] if self._process is not None else []
        return [self._stack.worker_pid, *second]

    def revive(self) -> list[str]:
        """Start again what has ended, the API included."""
        dead = self._stack.revive()
        if self._process is None or self._process.poll() is not None:
            dead += ["second worker"] if self._process is not None else []
            self._process = self._start()
        return dead

    def main_of(self, pid: int) -> int | None:
        """The worker that a process of one belongs to."""
        return next((main for main in self.mains if pid in family(main)), None)

    def stop(self) -> None:
        """Stop the second; the first is the stack's."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._second.mkdir(exist_ok=True)
        env = self._stack.env | {"DISTILLERY_DATA_DIR": str(self._second)}
        with (self._second / "worker.log").open("ab") as output:
            return subprocess.Popen(
                launch.command([sys.executable, "-m", "worker.main"]),
                cwd=_REPOSITORY,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
