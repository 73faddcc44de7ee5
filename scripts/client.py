"""A user of the service over HTTP: hands files in, waits for verdicts, posts a job, follows it, fetches the files."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

Json = dict[str, Any]

_LOOK_S = 0.2


class Refused(Exception):
    """The service said no; the message is what it said."""


class Client:
    """`with Client(url) as client: ...`. `token`: of a key, where the service has any."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # The service is on this machine: a proxy that the environment names is not asked.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def upload(self, path: Path) -> Json:
        """Hand a file in, streamed, with its hash so that damage on the way is noticed."""
        with path.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
        with path.open("rb") as file:
            headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Length": str(path.stat().st_size)}
            answer = self._http.post("/uploads", params={"filename": path.name}, content=file, headers=headers)
        return _said(answer)

    def teacher(self, name: str, path: Path, architecture: Json, **fields: Any) -> Json:
        """Upload a checkpoint and say what it is; its check begins."""
        return self._hand_in("/teachers", name, path, architecture=architecture, **fields)

    def dataset(self, name: str, path: Path, task: str, **fields: Any) -> Json:
        """Upload a data set and say what it is for; its check begins."""
        return self._hand_in("/datasets", name, path, task=task, **fields)

    def _hand_in(self, route: str, name: str, path: Path, **fields: Any) -> Json:
        upload = self.upload(path)
        return _said(self._http.post(route, json={"name": name, "upload": upload["id"], **fields}))

    def checked(self, thing: Json, patience_s: float = 600) -> Json:
        """Wait for the verdict on a teacher or a data set."""
        route = "teachers" if thing["id"].startswith("tch_") else "datasets"
        until = time.monotonic() + patience_s
        while thing["status"] == "checking":
            if time.monotonic() > until:
                raise TimeoutError(f"{thing['id']} is still being checked after {patience_s:.0f} s")
            time.sleep(_LOOK_S)
            thing = self.get(f"/{route}/{thing['id']}")
        return thing

    def ready(self, thing: Json) -> Json:
        """Wait for the verdict and insist on a good one."""
        thing = self.checked(thing)
        if thing["status"] != "ready":
            raise Refused(f"{thing['name']} was rejected:\n{json.dumps(thing['report'], indent=2)}")
        return thing

    def get(self, path: str) -> Json:
        """GET something that is JSON."""
        return _said(self._http.get(path))

    def text(self, path: str) -> str:
        """GET something that is text."""
        answer = self._http.get(path)
        if answer.is_error:
            raise Refused(f"GET {path}: {answer.status_code} {answer.text}")
        return answer.text

    def post(self, path: str, body: Json | None = None) -> Json:
        """POST JSON."""
        return _said(self._http.post(path, json=body))

    def events(self, job_id: str, after: int = 0) -> Iterator[Json]:
        """The job's events as they happen, until its last; a connection that breaks off is made again."""
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            try:
                with self._http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as stream:
                    if stream.status_code == httpx.codes.NO_CONTENT:
                        return
                    stream.raise_for_status()
                    for event in _parsed(stream.iter_lines()):
                        after = event["seq"]
                        yield event
            except httpx.TransportError:
                time.sleep(_LOOK_S)

    def ended(self, job_id: str) -> Json:
        """The job, once it has ended."""
        for _ in self.events(job_id):
            pass
        return self.get(f"/jobs/{job_id}")

    def download(self, path: str, target: Path, *, cut_at: int | None = None) -> str:
        """Fetch a file and return its SHA-256, which must be its ETag. `cut_at`: break off there once, then resume."""
        target.unlink(missing_ok=True)
        etag = self._fetch(path, target, {}, cut_at)
        if cut_at is not None:
            start = target.stat().st_size
            again = self._fetch(path, target, {"Range": f"bytes={start}-", "If-Range": etag}, None)
            if again != etag:
                raise Refused(f"{path} changed between two parts of its download: {etag}, then {again}")
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if etag != f'"{digest}"':
            raise Refused(f"{path}: the ETag is {etag}, the SHA-256 of what came {digest}")
        return digest

    def _fetch(self, path: str, target: Path, headers: dict[str, str], cut_at: int | None) -> str:
        wanted = httpx.codes.PARTIAL_CONTENT if headers else httpx.codes.OK
        with self._http.stream("GET", path, headers=headers) as answer, target.open("ab") as file:
            if answer.status_code != wanted:
                answer.read()
                raise Refused(f"GET {path} with {headers} answered {answer.status_code}: {answer.text}")
            for chunk in answer.iter_bytes(64 * 1024):
                file.write(chunk if cut_at is None else chunk[: cut_at - file.tell()])
                if cut_at is not None and file.tell() >= cut_at:
                    break
            return answer.headers["ETag"]


def _said(answer: httpx.Response) -> Json:
    if answer.is_error:
        raise Refused(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    said: Json = answer.json()
    return said


def _parsed(lines: Iterator[str]) -> Iterator[Json]:
    """Server-sent events whose data is one line of JSON each."""
    for line in lines:
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))
