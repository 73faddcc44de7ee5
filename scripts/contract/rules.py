"""Which findings of schemathesis are none: refusals of well-formed requests for what a document cannot say of them.

Each rule is of named operations and codes; what fits none of them is a finding. A run counts what each has dropped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from schemathesis.core.failures import AcceptedNegativeData, Failure, MalformedJson
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import ContentDeserializationError, RejectedPositiveData, UnsupportedMethodResponse

from api.schemas import DatasetCreate, TeacherCreate
from models.spec.job import JobSpec


@dataclass(frozen=True)
class Finding:
    """What was found, of which request, and the problem that it was answered with; empty where that is none."""

    failure: Failure
    operation: str
    case: Any
    status: int
    answer: dict[str, Any]

    @property
    def code(self) -> str:
        """The code of the problem."""
        return str(self.answer.get("code", ""))

    @property
    def pointers(self) -> list[str]:
        """The fields that the problem names."""
        return [error["pointer"] for error in self.answer.get("errors", [])]

    def is_refusal(self, status: int, *codes: str) -> bool:
        """Whether a well-formed request was refused with one of these codes."""
        return isinstance(self.failure, RejectedPositiveData) and self.status == status and self.code in codes


def finding(failure: Failure, operation: str, case: Any, response: Response) -> Finding:
    """With the answer read, where there is one to read."""
    is_read = response.headers.get("content-type") == ["application/problem+json"] or operation == "validate_job"
    read = response.json() if is_read and response.content else {}
    return Finding(failure, operation, case, response.status_code, read)


def rule_of(found: Finding) -> str:
    """The name of the rule by which a finding is none; empty where it is one."""
    return next((name for name, fits in _RULES.items() if fits(found)), "")


def _says_that_it_is_not_valid(found: Finding) -> bool:
    # To call such a body valid would be a finding.
    negative = isinstance(found.failure, AcceptedNegativeData) and found.operation == "validate_job"
    return negative and found.status == 200 and found.answer["valid"] is False


def _needs_a_key_first(found: Finding) -> bool:
    """Beside an operation that is open to all: who has no key is not told what methods there are."""
    return isinstance(found.failure, UnsupportedMethodResponse) and (found.status, found.code) == (401, "key_missing")


def _another_version(found: Finding) -> bool:
    return found.is_refusal(412, "precondition_failed") and "If-Match" in found.case.headers


def _no_cursor_of_ours(found: Finding) -> bool:
    return found.is_refusal(422, "invalid") and found.pointers == ["?cursor"]


def _another_hash(found: Finding) -> bool:
    return found.is_refusal(400, "digest_mismatch") or found.is_refusal(460, "checksum_mismatch")


def _part_of_a_file(found: Finding) -> bool:
    """A part of a JSON file is no JSON, and is of its media type all the same (RFC 9110, section 15.3.7)."""
    is_unread = isinstance(found.failure, (ContentDeserializationError, MalformedJson))
    return is_unread and found.operation == "download_artifact" and found.status == 206


def _beyond_the_end(found: Finding) -> bool:
    return found.is_refusal(416, "range_not_satisfiable") and "Range" in found.case.headers


def _length_and_what_came(found: Finding) -> bool:
    """Of an upload in parts: a length that was said twice, or not at all, or that is less than what came."""
    if found.operation not in {"begin_resumable_upload", "continue_resumable_upload"}:
        return False
    said = found.is_refusal(400, "malformed") and found.pointers == ["Upload-Length:"]
    return said or found.is_refusal(413, "too_large")


def _another_is_at_it(found: Finding) -> bool:
    return found.operation.endswith("resumable_upload") and found.is_refusal(423, "locked")


def _nothing_stored_under_the_id(found: Finding) -> bool:
    return found.is_refusal(422, "unknown_upload")


def _host_of_no_use(found: Finding) -> bool:
    """A port above 65535, an address that is none, one that is private: written as good ones are."""
    return found.is_refusal(422, "webhook_url")


#: Of fields of one body: by their sum, their ratio, their order, or by what an id beside them is. By the sentence that
#: refuses them, so that a rule which nobody thought of is a finding.
_BETWEEN_FIELDS = {
    "fields: sums, ratios, order": (
        r"heads must divide hidden|groups must divide the channels|T_start must lie between|milestones must ascend|"
        r"hop_ms above window_ms|val and test together|would be taken after epoch"
    ),
    "fields: ids that are spelled two ways": r"each teacher may be listed once|names none of the ensemble",
    "fields: which teacher can teach what": (
        r"`teacher` picks one out|reads features or embeddings|so it must name its `teacher`|exits are put on|`mixup`|"
        r"`teacher_cache`|`top_k`"
    ),
}
_BODIES: dict[str, type[BaseModel]] = {
    "create_job": JobSpec,
    "create_teacher": TeacherCreate,
    "create_dataset": DatasetCreate,
}


def _between(words: str) -> Callable[[Finding], bool]:
    def fits(found: Finding) -> bool:
        faults = _faults(found)
        return bool(faults) and all(re.search(words, fault) for fault in faults)

    return fits


def _faults(found: Finding) -> list[str]:
    """The sentences of the rules between fields that a body breaks, where it breaks no others."""
    model = _BODIES.get(found.operation)
    if model is None or not found.is_refusal(422, "invalid"):
        return []
    try:
        model.model_validate(found.case.body)
    except ValidationError as error:
        return [fault["msg"] for fault in error.errors()] if all(_is_rule(fault) for fault in error.errors()) else []
    return []


def _is_rule(fault: Any) -> bool:
    return bool(fault["type"] == "value_error")


#: Of a job that is well-formed in every way: 422 because of what its teacher or data are. api/fitting has the rules.
def _does_not_fit_what_it_names(found: Finding) -> bool:
    if found.operation != "create_job" or not isinstance(found.failure, RejectedPositiveData) or found.status != 422:
        return False
    try:
        JobSpec.model_validate(found.case.body)
    except ValidationError:
        return False
    return bool(found.pointers)


_RULES: dict[str, Callable[[Finding], bool]] = {
    "validate: 200 says `valid: false`": _says_that_it_is_not_valid,
    "no such method, and no key": _needs_a_key_first,
    "If-Match names another version": _another_version,
    "cursor is none of this list": _no_cursor_of_ours,
    "bytes have another hash": _another_hash,
    "range: a part of a JSON file": _part_of_a_file,
    "range begins beyond the end": _beyond_the_end,
    "tus: length against what came": _length_and_what_came,
    "tus: another request is at it": _another_is_at_it,
    "id of no upload": _nothing_stored_under_the_id,
    "host of no use": _host_of_no_use,
    **{name: _between(words) for name, words in _BETWEEN_FIELDS.items()},
    "job does not fit what it names": _does_not_fit_what_it_names,
}
