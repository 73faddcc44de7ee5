"""The spare: `python -P -m worker.forker MODULE PRELOADED SOCKET OWNER ROOM` imports PRELOADED and forks MODULEs.

It holds no thread, opens no user's file, knows no secret and makes no CUDA call, so a fork of it is as good as a fresh
process. What a child would get from exec it gets here, in the same order: session, folder, environment, output, and its
jail (worker/jail.py) before the module runs. Only this process reaps its children; worker/warm.py is who asks.
docs/decisions/0003-spares-are-forked.md says why.
"""

import ctypes
import gc
import json
import os
import random
import resource
import runpy
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from worker import jail
from worker.child import kill_group, reap
from worker.title import entitle

_PR_SET_PDEATHSIG = 1
#: What Ctrl-C does as we found it: a child gets it as it would by exec, ignored where whoever started us ignores it.
_INTERRUPT = signal.getsignal(signal.SIGINT)
#: A request is a few kilobytes: an environment and a few paths.
MAX_REQUEST_BYTES = 64 * 1024
MAX_FDS = 3


@dataclass
class _Asked:
    """A request: its answers go to `peer`. `pid` is the child's, once it was told to go."""

    peer: socket.socket
    told: dict[str, Any]
    fds: list[int]
    pid: int | None = None

    def answer(self, **fields: Any) -> None:
        """Say it; who asked may have gone."""
        with suppress(OSError):
            self.peer.send(json.dumps(fields).encode())

    def let_go(self) -> None:
        """Close what came along."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Forker:
    """Serves requests until SIGTERM, and then until its last child has ended."""

    def __init__(self, module: str, requests: socket.socket) -> None:
        self._module = module
        self._requests = requests
        self._parent = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._alive: set[int] = set()
        self._is_leaving = False

    def serve(self) -> Callable[[], None] | None:
        """Until the end. In a forked child it returns what the child has to do."""
        wakeup, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # From SIGKILL, which worker.launch asked for: a child outlives the worker's parent as long as its supervisor.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        self._selector.register(wakeup, selectors.EVENT_READ, lambda: os.read(wakeup, 512) and None)
        self._selector.register(self._requests, selectors.EVENT_READ, self._take)
        while not self._is_leaving or self._alive:
            for key, _ in self._selector.select():
                act: Callable[[], Callable[[], None] | None] = key.data
                if (work := act()) is not None:
                    return work
        return None

    def _leave(self, *_: object) -> None:
        self._is_leaving = True

    def _take(self) -> None:
        """A new request: say that we are here, and wait for the word."""
        message, fds, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, MAX_FDS)
        if not fds:  # nobody is left who could ask
            self._selector.unregister(self._requests)
            self._is_leaving = True
            return
        peer = socket.socket(fileno=fds[0])
        asked = _Asked(peer, json.loads(message), list(fds[1:]))
        if self._is_leaving:
            self._close(asked)
            return
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._hear(asked))
        asked.answer(here=True)

    def _hear(self, asked: _Asked) -> Callable[[], None] | None:
        """A word of who asked. Whoever goes away takes the child along."""
        try:
            word = asked.peer.recv(16)
        except OSError:
            word = b""
        if word == b"go" and asked.pid is None:
            return self._fork(asked)
        if word == b"stop" and asked.pid in self._alive:
            os.kill(asked.pid, signal.SIGTERM)
        elif word in {b"kill", b""} and asked.pid in self._alive:
            kill_group(asked.pid)
        if word == b"":
            self._selector.unregister(asked.peer)
            self._close(asked)
        return None

    def _close(self, asked: _Asked) -> None:
        asked.let_go()
        asked.peer.close()

    def _fork(self, asked: _Asked) -> Callable[[], None] | None:
        # Our handler must not run in the child: a signal waits until the child has its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
        except OSError as error:
            asked.answer(refused=str(error))
            return None
        finally:
            if os.getpid() == self._parent:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if pid == 0:
            self._abandon()
            return lambda: become(self._module, asked.told, asked.fds, self._parent)
        asked.pid = pid
        asked.let_go()
        self._alive.add(pid)
        handle = os.pidfd_open(pid)
        self._selector.register(handle, selectors.EVENT_READ, lambda: self._bury(asked, pid, handle))
        asked.answer(pid=pid)
        return None

    def _abandon(self) -> None:
        """In a child: close all by the objects that hold it, which would else close what has its number later."""
        signal.set_wakeup_fd(-1)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _bury(self, asked: _Asked, pid: int, handle: int) -> None:
        """A child has ended."""
        self._selector.unregister(handle)
        os.close(handle)
        ended = reap(pid)
        self._alive.discard(pid)
        asked.answer(exit_code=ended.exit_code, peak_bytes=ended.peak_bytes)


def become(module: str, told: dict[str, Any], fds: list[int], parent: int) -> None:
    """In a fresh fork: be what `python -m MODULE ARGUMENTS` would be. Raises SystemExit, as that does."""
    try:
        _settle(told, fds, parent)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(71)  # EX_OSERR: nothing was read and nothing begun
    sys.argv = [module, *told["arguments"]]
    entitle([sys.executable, "-m", *sys.argv])
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _settle(told: dict[str, Any], fds: list[int], parent: int) -> None:
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has one thread"  # noqa: PTH208 - names are all there is
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the wish was made
        os._exit(1)
    log, *rest = fds
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    kept = 2
    if told["jail"] is not None:
        kept = told["jail"]["warnings_fd"]  # its number is named to others as well
        os.dup2(rest[0], kept)
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    tempfile.tempdir = None
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _INTERRUPT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if told["jail"] is not None:
        jail.give_up(jail.Jail(**{**told["jail"], "parent": parent}))


def main(module: str, preloaded: str, fd: int, owner: str) -> None:
    """The door. `owner` is what an operator sees of whose spare this is."""
    entitle([sys.executable, "-m", "worker.forker", module, owner])
    import_module(preloaded)
    # Pages that the collector writes to would be copied in each child.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=fd) as requests:
        work = Forker(module, requests).serve()
        if work is None:
            return
    work()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
