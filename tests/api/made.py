"""A real API server on a port of its own, and teachers, data sets and jobs in the states that tests need."""

import copy
import hashlib
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import httpx

from api.ending import EndingServer
from api.main import create_app, served
from api.streams import Pace
from core import checks, db, jobs
from core.checks import Kind
from core.jobs import Claim, NewArtifact
from core.storage import Stored, storage
from models.work import IntakeResult

CLASSES = ["cat", "dog", "fox"]

IMAGES: dict[str, Any] = {
    "task": "image_classification",
    "counts": {"train": 100, "val": 10, "test": 10},
    "input_shape": [3, 16, 16],
    "num_outputs": 3,
    "classes": CLASSES,
    "mean": [0.5] * 3,
    "std": [0.2] * 3,
}
TABLE: dict[str, Any] = {
    **IMAGES,
    "task": "tabular_classification",
    "input_shape": [12],
    "mean": [],
    "std": [],
}
RESNET: dict[str, Any] = {
    "architecture": {"type": "resnet", "depth": 20},
    "input_shape": [3, -1, -1],
    "num_outputs": 3,
    "parameters": 272_000,
    "taps": [{"name": f"layer{n}", "shape": [16 * n, 16 // n, 16 // n]} for n in (1, 2, 4)],
}
MLP: dict[str, Any] = {
    "architecture": {"type": "mlp"},
    "input_shape": [12],
    "num_outputs": 3,
    "parameters": 40_000,
    "taps": [{"name": "hidden.0", "shape": [256]}],
}
TEXTS: dict[str, Any] = {
    **TABLE,
    "task": "text_classification",
    "input_shape": [500, 64],
    "text": {"tokenizer": {"type": "words"}, "vocabulary": 500, "length": 64, "column": "text"},
}
BERT: dict[str, Any] = {
    "architecture": {"type": "bert"},
    "input_shape": [500, -1],
    "num_outputs": 3,
    "parameters": 463_000,
    "taps": [{"name": f"bert.encoder.layer.{at}", "shape": [4, 128]} for at in (0, 1)],
}

#: What a teacher said of the first rows of IMAGES.
OUTPUTS: dict[str, Any] = {"task": "teacher_outputs", "num_rows": 90, "num_outputs": 3, "last_row": 99}


class Server:
    """The API in a thread of this process, behind a real socket."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.app = create_app(pace)
        config = served(self.app)
        config.timeout_graceful_shutdown = 1
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = EndingServer(config, self.app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            self._thread.join(0.005)
        return self

    def stop(self) -> None:
        """Ask it to end, as a signal does."""
        self._server.should_exit = True

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()
        self._listener.close()


class Made:
    """Makes things over HTTP, and does a worker's part through core."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api

    def upload(self, data: bytes = b"bytes of a file") -> str:
        """The id of an upload."""
        return _id(self.api.post("/uploads", params={"filename": "file.bin"}, content=data))

    def checking(self, kind: Kind, **fields: Any) -> str:
        """The id of a teacher or a data set that nobody has checked yet."""
        rest = {"architecture": {"type": "resnet", "depth": 20}} if kind == "teachers" else {"task": IMAGES["task"]}
        return _id(self.api.post(f"/{kind}", json={"name": "a thing", "upload": self.upload(), **rest, **fields}))

    def teacher(self, meta: dict[str, Any] = RESNET) -> str:
        """The id of a teacher that is ready."""
        return self._ready("teachers", meta)

    def dataset(self, meta: dict[str, Any] = IMAGES) -> str:
        """The id of a data set that is ready."""
        return self._ready("datasets", meta)

    def _ready(self, kind: Kind, meta: dict[str, Any]) -> str:
        row_id = self.checking(kind)
        stored = store(os.urandom(16))
        report = {"checks": [{"id": "file", "result": "pass", "detail": "It opens"}], "parameters": 1}
        self._answer(kind, row_id, IntakeResult(ready=True, report=report, meta=copy.deepcopy(meta), file="f"), stored)
        return row_id

    def rejected(self, kind: Kind, detail: str) -> str:
        """The id of a thing that a check has refused."""
        row_id = self.checking(kind)
        report = {"checks": [{"id": "file", "result": "fail", "detail": detail}]}
        self._answer(kind, row_id, IntakeResult(ready=False, report=report), None)
        return row_id

    def _answer(self, kind: Kind, row_id: str, result: IntakeResult, stored: Stored | None) -> None:
        with db.session() as session:
            claim = checks.claim_check(session, kind, row_id, lease_s=60)
            assert claim is not None
            assert checks.finish_check(session, claim, result, stored)

    def body(self, **changes: Any) -> dict[str, Any]:
        """A body of POST /jobs that works, its teacher and data set made unless given."""
        return {
            "teacher": changes.pop("teacher", None) or self.teacher(),
            "dataset": changes.pop("dataset", None) or self.dataset(),
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
            **changes,
        }

    def job(self, **changes: Any) -> str:
        """The id of a queued job."""
        return _id(self.api.post("/jobs", json=self.body(**changes)))


def _id(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


def store(data: bytes) -> Stored:
    """Put bytes into the storage."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return storage().put_file(Path(file.name))


def claim(job_id: str) -> Claim:
    """Start an attempt, as a worker does."""
    with db.session() as session:
        claimed = jobs.claim(session, worker="test", lease_s=60, job_id=job_id)
    assert claimed is not None
    return claimed


def record(claimed: Claim, *lines: tuple[str, dict[str, Any]], **more: Any) -> None:
    """Add events, as a worker does."""
    with db.session() as session:
        jobs.record(session, claimed, list(lines), **more)


def succeed(claimed: Claim, log: str = "", **files: bytes) -> None:
    """End the attempt well, with files by name (`student_pth` is student.pth)."""
    made = []
    for name, data in files.items():
        stored = store(data)
        assert stored.sha256 == hashlib.sha256(data).hexdigest()
        made.append(
            NewArtifact(name.replace("_", "."), stored.key, stored.size, stored.sha256, "application/octet-stream")
        )
    with db.session() as session:
        jobs.succeed(session, claimed, result={"test": {"student": {"accuracy": 0.9}}}, artifacts=made, log=log)


def problem(answer: httpx.Response, status: int, code: str, *pointers: str) -> dict[str, Any]:
    """The problem that an answer holds; it has these and the right form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "errors", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"/docs/errors#{code}"
    assert [error["pointer"] for error in body["errors"]] == list(pointers)
    assert all(error["message"] for error in body["errors"])
    assert "Traceback" not in answer.text
    return body


def gone(answer: httpx.Response) -> None:
    """What was asked to go has gone: an answer without a body says nothing of one."""
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    assert "content-type" not in answer.headers
