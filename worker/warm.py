"""The spares of a worker, and how a child is got from one: a fork that has torch imported, in milliseconds.

The worker's parent keeps one spare of each kind (worker/forker.py) and starts it anew when it ends. A spare and those
who ask it share a pair of sockets that was made before Celery forks, so no name in the file system leads to it. Where a
spare is away, slow, or not like the child that is wanted, `fork` gives None and the caller starts a process of its own:
a spare saves time, and nothing depends on it.
"""

import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import Infra
from worker import launch
from worker.child import Ended
from worker.jail import Jail
from worker.title import ROOM

log = logging.getLogger(__name__)

#: What is set for each child; the rest of the environment is read as libraries are loaded, so it must be the spare's.
_SET_LATER = frozenset({"CUDA_VISIBLE_DEVICES", "HOME", "TMPDIR"})
#: A spare that is just being started is waited for: it is further than a new process would be.
_HERE_S = 3.0
_FORK_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True)
class Spare:
    """What a spare is like: the module that it imports beforehand, and the environment that its children will have."""

    preloaded: str
    env: Mapping[str, str]


@dataclass
class _Slot:
    """The place of one spare. `up` is one byte that all processes of the worker share."""

    module: str
    preloaded: str
    env: dict[str, str]
    ours: socket.socket
    theirs: socket.socket
    up: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))


_slots: dict[str, _Slot] = {}


class Spares:
    """Keeps a spare for each module, from `start` to `stop`. Make it before anything forks.

    `owner` is what their command lines say, so that an operator can tell whose they are.
    """

    def __init__(self, wanted: Mapping[str, Spare], owner: str) -> None:
        self._owner = owner
        self._end = threading.Event()
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        for module, spare in wanted.items():
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pair[0].setblocking(False)
            _slots[module] = _Slot(module, spare.preloaded, _loaded(spare.env), *pair)
        # A thread for each, which lives as long as the spare that it starts: the kernel ends that with it.
        self._threads = [
            threading.Thread(target=self._keep, args=(_slots[module],), name=f"spare {module}", daemon=True)
            for module in wanted
        ]

    def start(self) -> None:
        """Start them; they are ready some seconds later."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them and wait for that."""
        self._end.set()
        for server in list(self._servers.values()):
            server.send_signal(signal.SIGTERM)
        for thread in self._threads:
            thread.join()
        while _slots:
            _, slot = _slots.popitem()
            slot.ours.close()
            slot.theirs.close()
            slot.up.close()

    def _keep(self, slot: _Slot) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._end.is_set():
            started = time.monotonic()
            server = self._servers[slot.module] = self._serve(slot)
            slot.up[0] = 1
            if self._end.is_set():  # `stop` may have looked before the line above
                server.send_signal(signal.SIGTERM)
            code = server.wait()
            slot.up[0] = 0
            if self._end.is_set():
                return
            pause_s = _FIRST_PAUSE_S if time.monotonic() - started > _LONGEST_PAUSE_S else 2 * pause_s
            pause_s = min(pause_s, _LONGEST_PAUSE_S)
            log.warning("the spare for %s ended with %d; the next one starts in %.0f s", slot.module, code, pause_s)
            self._end.wait(pause_s)

    def _serve(self, slot: _Slot) -> subprocess.Popen[bytes]:
        fd = slot.theirs.fileno()
        # -P, -B: as for the child that opens users' files.
        command = [
            sys.executable,
            "-P",
            "-B",
            "-m",
            "worker.forker",
            slot.module,
            slot.preloaded,
            str(fd),
            self._owner,
            ROOM,
        ]
        env = slot.env | {"CUDA_VISIBLE_DEVICES": "", "HOME": os.devnull}
        return subprocess.Popen(
            launch.command(command), cwd="/", env=env, stdin=subprocess.DEVNULL, pass_fds=[fd], start_new_session=True
        )


class Forked:
    """A child of a spare: a worker.child.Running. It ends when this object's process does."""

    def __init__(self, pid: int, spare: socket.socket) -> None:
        self.pid = pid
        self._spare = spare
        self._ended: Ended | None = None

    def __del__(self) -> None:
        self._spare.close()

    def poll(self) -> Ended | None:
        """See Running."""
        return self._look(0)

    def ask_to_stop(self) -> None:
        """See Running."""
        self._say(b"stop")

    def kill(self) -> Ended:
        """See Running."""
        self._say(b"kill")
        while (ended := self._look(None)) is None:
            pass
        return ended

    def _say(self, word: bytes) -> None:
        if self._ended is None:
            with suppress(OSError):  # the spare is gone, and the child with it
                self._spare.send(word)

    def _look(self, timeout_s: float | None) -> Ended | None:
        if self._ended is None:
            self._spare.settimeout(timeout_s)
            try:
                told = _heard(self._spare)
            except BlockingIOError:
                return None
            # A spare that ends takes its children along.
            killed = {"exit_code": -signal.SIGKILL, "peak_bytes": 0}
            told = told or killed
            self._ended = Ended(told["exit_code"], told["peak_bytes"])
            self._spare.close()
        return self._ended


def fork(
    module: str,
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: int,
    jail: Jail | None = None,
) -> Forked | None:
    """What `python -m MODULE ARGUMENTS` would be, out of the spare; None where a process of one's own is needed.

    `jail` is given up to before the module runs. Raises Infra where nobody knows whether the child began.
    """
    slot = _slots.get(module)
    if slot is None or not slot.up[0] or slot.env != _loaded(env):
        return None
    request = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "jail": jail and asdict(jail)}
    fds = [log] if jail is None else [log, jail.warnings_fd]
    spare, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            socket.send_fds(slot.ours, [json.dumps(request).encode()], [theirs.fileno(), *fds])
        spare.settimeout(_HERE_S)
        is_here = _heard(spare) is not None
    except OSError:
        is_here = False
    pid = _go(spare) if is_here else None
    if pid is None:
        spare.close()
        return None
    return Forked(pid, spare)


def _go(spare: socket.socket) -> int | None:
    """Let the child begin; its process id, or None where there is none."""
    spare.settimeout(_FORK_S)
    try:
        spare.send(b"go")
        told = _heard(spare)
    except TimeoutError:
        spare.close()
        raise Infra("The spare process did not answer; the job was given back.", code="spare_stuck") from None
    except OSError:
        told = None
    return told.get("pid") if told else None


def _heard(spare: socket.socket) -> dict[str, Any] | None:
    """The next answer; None where the spare has gone."""
    try:
        message = spare.recv(4096)
    except ConnectionError:
        message = b""
    answer: dict[str, Any] | None = json.loads(message) if message else None
    return answer


def _loaded(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in _SET_LATER}
