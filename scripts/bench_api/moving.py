"""Large files in and out, beside a plain copy of the same file through a socket."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from core import db, jobs
from core.jobs import NewArtifact
from models.tables import Upload
from scripts.bench_api.service import Served, claimed, submitted

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Moved:
    """Megabytes a second, and the median of the ratios of the pairs: ours to the plain copy."""

    upload: float
    plain_upload: float
    upload_ratio: float
    download: float
    plain_download: float
    download_ratio: float


def measure(api: Served, folder: Path, size: int, rounds: int) -> Moved:
    """Alternating, after one round that is not counted."""
    source = folder / "source"
    _make(source, size)
    found: list[tuple[float, float, float, float]] = []
    for each in range(rounds + 1):
        copied = _copy_in(source, folder / "copy")
        # Equal bytes are stored once: each round has bytes of its own.
        _mark(source, each)
        upload_id, uploaded = _upload(api.port, source)
        sent = _copy_out(source)
        downloaded = _download(api.port, _artifact(upload_id), size)
        if each:
            found.append((uploaded, copied, downloaded, sent))
    mb = [size / 2**20 / median(column) for column in zip(*found, strict=True)]
    up = median(plain / ours for ours, plain, _, _ in found)
    down = median(plain / ours for _, _, ours, plain in found)
    return Moved(mb[0], mb[1], up, mb[2], mb[3], down)


def _make(path: Path, size: int) -> None:
    block = os.urandom(_CHUNK)
    with path.open("wb") as file:
        for _ in range(size // _CHUNK):
            file.write(block)


def _mark(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.write(f"round {number}".encode())


def _upload(port: int, source: Path) -> tuple[str, float]:
    """Hand the file in; its id, and the seconds until the answer."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client, source.open("rb") as file:
        size = source.stat().st_size
        client.sendall(f"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        client.sendfile(file)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            answer += client.recv(65536)
    took_s = time.monotonic() - start
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 201 " in head.split(b"\r\n")[0], answer
    return json.loads(body)["id"], took_s


def _download(port: int, path: str, size: int) -> float:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert _drain(client) > size
    return time.monotonic() - start


def _copy_in(source: Path, target: Path) -> float:
    """The plain way in: what comes from the socket is written to a file and put on disk."""

    def take(server: socket.socket) -> None:
        buffer = bytearray(_CHUNK)
        with target.open("wb") as file:
            while num := server.recv_into(buffer):
                file.write(memoryview(buffer)[:num])
            file.flush()
            os.fsync(file.fileno())
        server.sendall(b"done")

    def give(client: socket.socket) -> None:
        with source.open("rb") as file:
            client.sendfile(file)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4) == b"done"

    return _through_a_socket(take, give)


def _copy_out(source: Path) -> float:
    """The plain way out: a file is sent whole."""

    def give(server: socket.socket) -> None:
        with source.open("rb") as file:
            server.sendfile(file)
        server.shutdown(socket.SHUT_WR)

    return _through_a_socket(give, _drain)


def _through_a_socket(serve: Callable[[socket.socket], object], use: Callable[[socket.socket], object]) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                thread = threading.Thread(target=serve, args=(server,))
                thread.start()
                use(client)
                thread.join()
        return time.monotonic() - start


def _drain(client: socket.socket) -> int:
    """Read to the end; how much there was."""
    buffer, total = bytearray(_CHUNK), 0
    while num := client.recv_into(buffer):
        total += num
    return total


def _artifact(upload_id: str) -> str:
    """The path of a job's file whose bytes are those of the upload."""
    claim = claimed(submitted())
    with db.session() as session:
        upload = session.get_one(Upload, upload_id)
        made = NewArtifact("student.pth", upload.storage_key, upload.size, upload.sha256, "application/octet-stream")
        jobs.succeed(session, claim, result={}, artifacts=[made], log="")
    return f"/jobs/{claim.job_id}/student.pth"
