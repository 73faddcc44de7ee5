"""Checkpoints: everything that is needed to go on as if nothing had happened, in files that are whole or not there.

A file is written under a temporary name, flushed to the disk and renamed; the last two are kept, so that a torn disk
still leaves one. It is written by a thread while training goes on: the loop pays for a copy of the tensors alone.
Files are read back without unpickling anything but tensors and plain values.
"""

import io
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]

_KEPT = 2
_SUFFIX = ".pt"
#: A checkpoint at an epoch's end is left out where the last is younger than this or than checkpoint_s.
_EPOCH_S = 5.0
#: Copying may hold up the loop for at most this share of the time.
_SHARE = 0.01


class Checkpoints:
    """The folder of a run's checkpoints."""

    def __init__(self, folder: Path, interval_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._interval_s = folder, interval_s
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._last_at, self._cost_s = time.monotonic(), 0.0
        self._number = max((int(path.stem) for path in self._paths()), default=0)

    def due(self, *, epoch_ended: bool) -> bool:
        """Whether enough time has passed since the last one."""
        interval_s = min(_EPOCH_S, self._interval_s) if epoch_ended else self._interval_s
        return time.monotonic() - self._last_at >= max(interval_s, self._cost_s / _SHARE)

    def save(self, state: State) -> None:
        """Keep the state as it is now. Raises the OSError of the write before, where that one failed."""
        start = time.monotonic()
        self.wait()
        copied = on_host(state)
        self._number += 1
        self._writing = self._writer.submit(self._write, copied, self._folder / f"{self._number:08d}{_SUFFIX}")
        self._last_at = time.monotonic()
        self._cost_s = self._last_at - start

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. Raises OSError where it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def load(self, device: torch.device, broken: Callable[[Path, Exception], None]) -> State | None:
        """The newest state that can be read; `broken` is told of each that cannot."""
        for path in reversed(self._paths()):
            try:
                state: State = torch.load(path, map_location=device, weights_only=True)
            except Exception as error:  # whatever is wrong with it, the one before may be whole
                broken(path, error)
                continue
            return state
        return None

    def _write(self, state: State, path: Path) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(path, content.getbuffer())
        for old in self._paths()[:-_KEPT]:
            old.unlink()

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """A file with this content, or none: never a part of it. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def on_host(state: Any) -> Any:
    """A copy whose tensors lie on the host and change no more."""
    match state:
        case Tensor():
            return state.detach().to("cpu", copy=True)
        case dict():
            return {key: on_host(value) for key, value in state.items()}
        case list() | tuple():
            return type(state)(on_host(value) for value in state)
        case _:
            return state
