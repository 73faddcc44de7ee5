"""A client of a job's event stream: it reconnects with Last-Event-ID, and breaks off by itself now and then."""

import json
import threading
import time
from typing import Any

import httpx

Json = dict[str, Any]

#: After so many events it hangs up and connects again.
_CUT_EVERY = 9
_AGAIN_S = 0.05


class Follower:
    """Collects the events of one job in a thread of its own, until the stream says that there will be no more."""

    def __init__(self, url: str, job_id: str) -> None:
        self.job_id = job_id
        self.events: list[Json] = []
        self.faults: list[str] = []
        self._url = url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{job_id}", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """True once the job's last event has come."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Give up."""
        self._end.set()

    def last(self, type_: str) -> Json | None:
        """The newest event of the type."""
        return next((event for event in reversed(self.events) if event["type"] == type_), None)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=15, trust_env=False) as http:
            while not self._end.is_set():
                try:
                    if self._connect(http):
                        return
                except httpx.TransportError:
                    pass
                time.sleep(_AGAIN_S)

    def _connect(self, http: httpx.Client) -> bool:
        """Follow one connection; True where the stream says that all was seen."""
        after = self.events[-1]["seq"] if self.events else 0
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with http.stream("GET", f"/jobs/{self.job_id}/events", headers=headers) as stream:
            if stream.status_code == httpx.codes.NO_CONTENT:
                return True
            if stream.is_error:
                stream.read()
                self.faults += fault_of(stream)
                return False
            self._read(stream)
        return False

    def _read(self, stream: httpx.Response) -> None:
        taken = 0
        for line in stream.iter_lines():
            if line.startswith("data:"):
                self._take(json.loads(line.removeprefix("data:")))
                taken += 1
            if taken == _CUT_EVERY or self._end.is_set():
                return

    def _take(self, event: Json) -> None:
        expected = self.events[-1]["seq"] + 1 if self.events else 1
        if event["seq"] != expected:
            self.faults.append(f"event {event['seq']} came where {expected} was due")
        self.events.append(event)


def fault_of(answer: httpx.Response) -> list[str]:
    """What is wrong with an error answer: while a part is down it is 503 problem+json that says when to come again."""
    if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
        return []
    where = f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}"
    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        return [f"{where}: {answer.text[:300]}"]
    if answer.headers.get("content-type") != "application/problem+json" or "retry-after" not in answer.headers:
        return [f"{where} without problem+json and Retry-After"]
    return []
