"""What the service under test has, by kind, as the hooks know it: made before the run, or told by answers in it."""

import threading
from collections import Counter, defaultdict, deque
from typing import Any

from schemathesis.core.transport import Response

from api import tus

#: The pool from which each parameter of a path is taken, by operation; for the rest by the parameter's name.
_OF_OPERATION = {
    "cancel_job": {"job_id": "unwanted_job"},
    "pause_job": {"job_id": "waiting_job"},
    "resume_job": {"job_id": "paused_job"},
    "retry_job": {"job_id": "ended_job"},
    "list_events": {"job_id": "ended_job"},
    "get_metrics": {"job_id": "ended_job"},
    "get_logs": {"job_id": "ended_job"},
    "list_artifacts": {"job_id": "ended_job"},
    "download_artifact": {"job_id": "ended_job"},
    "download_student": {"job_id": "ended_job"},
    "get_resumable_upload": {"upload_id": "tus"},
    "continue_resumable_upload": {"upload_id": "tus"},
    "end_resumable_upload": {"upload_id": "tus"},
}
_BY_NAME = {"job_id": "job", "name": "name", "upload_id": "upload", "key_id": "key"}
#: What a DELETE may have: made to be deleted, so that what the run stands on stays.
_DELETING = {
    "delete_job": "spare_job",
    "delete_teacher": "spare_teacher",
    "delete_dataset": "spare_dataset",
    "delete_webhook": "spare_webhook",
    "revoke_key": "spare_key",
    "end_resumable_upload": "spare_tus",
}
#: Where the things go that answers tell of, by operation; a job by its state.
_MADE = {
    "create_teacher": ("spare_teacher",),
    "create_dataset": ("spare_dataset",),
    "create_webhook": ("webhook", "spare_webhook"),
    "create_key": ("spare_key",),
    "create_upload": ("upload",),
}
_JOBS = {"queued": "waiting_job", "paused": "paused_job", "cancelled": "spare_job"}
#: So many that were told are kept in mind.
_TOLD = 30


class Things:
    """Pools of ids; what was made before the run stays in its pool, what was told makes room for what is told later."""

    def __init__(self, made: dict[str, list[str]]) -> None:
        self._made = made
        self._told: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_TOLD))
        self._spare = {pool: list(ids) for pool, ids in made.items() if pool.startswith("spare_")}
        self._numbers: Counter[str] = Counter()
        self._turn = threading.Lock()
        self.offsets: dict[str, int] = {}
        self.etags: dict[str, str] = {}
        self.cursors: dict[str, str] = {}

    def stays(self, value: Any) -> bool:
        """Whether the run stands on this, so that it is not deleted."""
        return any(value in ids for pool, ids in self._made.items() if not pool.startswith("spare_"))

    def pool(self, name: str) -> list[str]:
        """All of a kind."""
        return [*self._made.get(name, ()), *self._told[name]]

    def path(self, operation: str, names: list[str], *, is_good: bool) -> dict[str, str]:
        """Values for the parameters of a path, another one each time; without those of which there is none.

        `is_good`: of a request that may well do what it asks for.
        """
        with self._turn:
            if operation in _DELETING:
                spare = self._spare.setdefault(_DELETING[operation], [])
                return {names[0]: spare.pop()} if spare and is_good else {}
            number = self._numbers[operation]
            self._numbers[operation] += 1
            if operation == "replay_delivery":
                return dict(zip(("webhook_id", "delivery_id"), self._made["delivery"], strict=True))
            kinds = _OF_OPERATION.get(operation, {})
            pools = {name: self.pool(kinds.get(name) or _BY_NAME.get(name) or name[:-3]) for name in names}
        return {name: ids[number % len(ids)] for name, ids in pools.items() if ids}

    def learn(self, operation: str, path: dict[str, Any], response: Response) -> None:
        """What an answer tells: new things, their versions, how far uploads are, where pages go on."""
        body = {} if operation.startswith("download_") else _object(response)
        made = body.get("id") or _last(response.headers.get("location", [""])[0]) or _named(path)
        with self._turn:
            if (response.status_code == 204 and operation in _DELETING) or tus.UPLOAD.lower() in response.headers:
                self._forget(made)
            elif response.status_code == 201 or operation in {"pause_job", "cancel_job"}:
                self._note(operation, made, body)
            if etag := response.headers.get("etag"):
                self.etags[made] = etag[0]
            if (offset := response.headers.get("upload-offset")) and offset[0].isdecimal():
                self.offsets[made] = int(offset[0])
            if cursor := body.get("next_cursor"):
                self.cursors[operation] = str(cursor)

    def _forget(self, gone: str) -> None:
        """It was deleted, or is whole and takes no more."""
        for told in self._told.values():
            while gone in told:
                told.remove(gone)

    def _note(self, operation: str, made: str, body: dict[str, Any]) -> None:
        if operation == "begin_resumable_upload":
            pools: tuple[str, ...] = ("tus", "spare_tus")
        elif operation.endswith("_job"):
            pools = (_JOBS.get(str(body.get("status")), "job"), "job")
        else:
            pools = _MADE.get(operation, ())
        for pool in pools:
            if pool.startswith("spare_"):
                self._spare.setdefault(pool, []).append(made)
            else:
                self._told[pool].append(made)


def _object(response: Response) -> dict[str, Any]:
    if (
        response.status_code >= 300
        or not response.content
        or "json" not in response.headers.get("content-type", [""])[0]
    ):
        return {}
    body = response.json()
    return body if isinstance(body, dict) else {}


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _named(path: dict[str, Any]) -> str:
    """The thing that a path names: the file of a job, or what the last id is of."""
    return "/".join(str(value) for value in path.values())


def named(path: dict[str, Any]) -> str:
    """By what name `etags` and `offsets` have the thing of this path."""
    return _named(path)
