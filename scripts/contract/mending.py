"""Requests made to mean something: ids that there are, a hash that is of the bytes, an offset that is the upload's.

The document says what is well-formed, and schemathesis draws that; what there is just now it cannot know. One request
in eight stays as it was drawn, so that the answers to those are looked at as well.
"""

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, MutableMapping
from itertools import count
from typing import Any

from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from schemathesis.transport.serialization import Binary

from api import tus
from api.routes import uploads
from scripts.contract.things import Things, named

_ID = re.compile(r"(tch_|dst_|upl_)[A-Za-z0-9]{1,60}")
_RANGES = ("bytes=0-9", "bytes=5-", "bytes=-7", "bytes=99999999999-")
_AS_DRAWN = 8


class Mending:
    """Changes cases in place, before they are sent. schemathesis then looks again whether they are well-formed."""

    def __init__(self, things: Things) -> None:
        self._things = things
        self._numbers = count(1)
        self._met: Counter[str] = Counter()

    def mend(self, operation: str, case: Any) -> None:
        """One case."""
        if isinstance(case.body, (dict, list)):
            case.body = _Ids(self._things).real(case.body)
        if _may_name_another(case):
            self._path(operation, case)
        self._key(case.headers)
        if operation == "list_events" and (case.path_parameters or {}).get("job_id") in self._things.pool("ended_job"):
            # As a stream every other time, of a job that has ended: other streams stay open.
            case.headers["Accept"] = ("text/event-stream", "application/json")[next(self._numbers) % 2]
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        as_drawn = next(self._numbers) % _AS_DRAWN == 0
        # A placeholder, which schemathesis takes for a good value, is no hash.
        _mend_hashes(case.headers, _bytes(case.body), lambda said, form: not as_drawn or not re.fullmatch(form, said))
        if not as_drawn:
            self._well_formed(operation, case)

    def _path(self, operation: str, case: Any) -> None:
        names = list(case.path_parameters or {})
        self._met[operation] += 1
        if names and self._met[operation] % 4:
            is_good = case.meta is None or case.meta.generation.mode.is_positive
            case.path_parameters.update(self._things.path(operation, names, is_good=is_good))
        if case.method == "DELETE":
            for name, value in (case.path_parameters or {}).items():
                if self._things.stays(value):
                    case.path_parameters[name] = f"{value}0"

    def _key(self, headers: MutableMapping[str, Any]) -> None:
        """No key is used twice: what comes of that is looked at in tests/api/test_idempotency.py."""
        if (key := headers.get("Idempotency-Key")) is not None:
            end = f"-{os.getpid()}-{next(self._numbers)}"
            headers["Idempotency-Key"] = f"{str(key)[: 255 - len(end)]}{end}"

    def _well_formed(self, operation: str, case: Any) -> None:
        headers, body, thing = case.headers, _bytes(case.body), named(case.path_parameters or {})
        if "If-Match" in headers:
            headers["If-Match"] = self._things.etags.get(thing, "*")
        for name in ("If-None-Match", "If-Range"):
            if name in headers and thing in self._things.etags and next(self._numbers) % 2:
                headers[name] = self._things.etags[thing]
        if "Range" in headers:
            headers["Range"] = _RANGES[next(self._numbers) % len(_RANGES)]
        if operation == "begin_resumable_upload":
            _say_length(headers, len(body))
        if operation == "continue_resumable_upload":
            headers["Upload-Offset"] = str(self._things.offsets.get(thing, 0))
            headers.pop("Upload-Length", None)
        if "cursor" in (case.query or {}):
            _set_or_drop(case.query, "cursor", self._things.cursors.get(operation))


def _may_name_another(case: Any) -> bool:
    """Not where the path itself is what is wrong with it, nor in a chain that goes on with what it has made."""
    if case.meta is None:
        return True
    path = case.meta.components.get(ParameterLocation.PATH)
    return case.meta.phase.name != TestPhase.STATEFUL and (path is None or path.mode.is_positive)


def _mend_hashes(headers: MutableMapping[str, Any], body: bytes, is_wrong: Callable[[str, str], bool]) -> None:
    """The hashes of this body, in the place of those that are wrong by their text and the form they should have."""
    if "Content-Digest" in headers and is_wrong(str(headers["Content-Digest"]), uploads.DIGEST):
        headers["Content-Digest"] = f"sha-256=:{_digest('sha256', body)}:"
    if "Upload-Checksum" in headers and is_wrong(str(headers["Upload-Checksum"]), tus.CHECKSUM):
        algorithm = "sha1" if str(headers["Upload-Checksum"]).startswith("sha1 ") else "sha256"
        headers["Upload-Checksum"] = f"{algorithm} {_digest(algorithm, body)}"


def _say_length(headers: MutableMapping[str, Any], size: int) -> None:
    """The length of an upload is said, or put off, and it is not less than what comes along."""
    said = str(headers.get("Upload-Length", ""))
    if said.isdecimal():
        headers.pop("Upload-Defer-Length", None)
        headers["Upload-Length"] = str(max(int(said), size))
    else:
        headers.pop("Upload-Length", None)
        headers["Upload-Defer-Length"] = "1"


def _set_or_drop(values: dict[str, Any], name: str, value: str | None) -> None:
    if value is None:
        del values[name]
    else:
        values[name] = value


def _bytes(body: Any) -> bytes:
    if isinstance(body, Binary):
        return bytes(body.data)
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b""


def _digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data, usedforsecurity=False).digest()).decode()


class _Ids:
    """The well-formed ids of one body as ones that there are: different ones different, equal ones equal."""

    def __init__(self, things: Things) -> None:
        self._things = things
        self._known: dict[tuple[str, str], str] = {}

    def real(self, node: Any, pool: str = "") -> Any:
        """The same body with other ids. `pool`: of which data sets one here is, where not of those to train on."""
        if isinstance(node, dict):
            given = "outputs" if node.get("type") == "outputs" else ""
            return {key: self.real(value, "outputs" if key == "teacher" else given) for key, value in node.items()}
        if isinstance(node, list):
            return [self.real(value, pool) for value in node]
        found = _ID.fullmatch(node) if isinstance(node, str) else None
        return self._one(node, found[1], pool) if found else node

    def _one(self, text: str, prefix: str, pool: str) -> str:
        kind = {"tch_": "teacher", "dst_": pool or "dataset", "upl_": "upload"}[prefix]
        ids = self._things.pool(kind)
        if text in ids or not ids:
            return text
        return self._known.setdefault((kind, text), ids[sum(of == kind for of, _ in self._known) % len(ids)])
