"""What schemathesis is told of this service: what to leave alone, and which of its findings are none.

No check is switched off. A finding is dropped only where the answer says why the document cannot tell.
"""

# ruff: noqa: ARG001 - schemathesis calls a hook with all that it offers
import itertools
import json
import os
import re
from typing import Any

import schemathesis
from pydantic import BaseModel, ValidationError
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData

from api.schemas import DatasetCreate, TeacherCreate
from models.spec.job import JobSpec

#: The ids of what the service has, by the parameters that take them.
IDS: dict[str, list[str]] = json.loads(os.environ["CONTRACT_IDS"])
_KINDS = {"tch_": "teacher_id", "dst_": "dataset_id", "upl_": "upload_id"}
_ID = re.compile(r"(tch_|dst_|upl_)[A-Za-z0-9]{1,60}")

_BODIES: dict[str, type[BaseModel]] = {
    "create_job": JobSpec,
    "create_teacher": TeacherCreate,
    "create_dataset": DatasetCreate,
}

#: Parameters whose true values only the service knows: a cursor is opaque.
_OPAQUE = {"?cursor"}
#: What a request may be refused for however well it is formed: it depends on what there is, or on the bytes of a body.
_OF_THE_MOMENT = {
    "unknown_upload",
    "digest_mismatch",
    "idempotency_key_reused",
    "precondition_failed",
    "range_not_satisfiable",
    # Of a URL in good form: its host is a private address, or has none.
    "webhook_url",
}

#: In tus a header is right or wrong by what the others say and by how far the upload is; tests/api/test_resumable.py
#: goes through these rules. That what is malformed is refused is looked at here too.
_TUS = {"begin_resumable_upload", "continue_resumable_upload", "get_resumable_upload", "end_resumable_upload"}

_numbers = itertools.count()

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.hook
def map_path_parameters(context: HookContext, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """What the run stands on is not deleted: such a request names something like it that is not there."""
    if context.operation is None or context.operation.method.upper() != "DELETE" or not path_parameters:
        return path_parameters
    return {name: f"{value}0" if _stays(name, value) else value for name, value in path_parameters.items()}


@schemathesis.hook
def filter_case(context: HookContext, case: Any) -> bool:
    """The same for requests that were not drawn: examples, and those that follow from an answer."""
    return case.method != "DELETE" or not any(_stays(*given) for given in (case.path_parameters or {}).items())


def _stays(name: str, value: Any) -> bool:
    return value in IDS.get(name, ())


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """A well-formed id in a body becomes one that there is, so that more than its absence is found out."""
    if isinstance(body, dict):
        return {name: map_body(context, value) for name, value in body.items()}
    if isinstance(body, list):
        return [map_body(context, value) for value in body]
    found = _ID.fullmatch(body) if isinstance(body, str) else None
    return IDS[_KINDS[found[1]]][0] if found else body


@schemathesis.hook
def before_call(context: HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Every other time the events are asked for as a stream, of a job that has ended: other streams stay open."""
    if _operation(case) == "list_events" and case.path_parameters.get("job_id") == IDS["job_id"][0]:
        case.headers["Accept"] = ("text/event-stream", "application/json")[next(_numbers) % 2]


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Any, response: Response) -> bool:
    """Whether a finding is one."""
    if isinstance(failure, AcceptedNegativeData) and _operation(case) == "validate_job":
        # It answers 200 and lists the faults: that is what it is for. Calling such a body valid would be a finding.
        return bool(response.json()["valid"])
    if isinstance(failure, RejectedPositiveData):
        return not _is_beyond_a_schema(case, response)
    return True


def _operation(case: Any) -> str:
    return str(case.operation.definition.raw.get("operationId", ""))


def _is_beyond_a_schema(case: Any, response: Response) -> bool:
    """Whether a well-formed request was refused for what JSON Schema has no words for."""
    if _operation(case) in _TUS:
        return True
    problem = response.json()
    if problem["code"] == "malformed" and not _is_digest((case.headers or {}).get("Content-Digest", "")):
        # A placeholder of schemathesis, which does not draw headers by their pattern in every phase.
        return [error["pointer"] for error in problem["errors"]] == ["Content-Digest:"]
    if problem["code"] in _OF_THE_MOMENT or {error["pointer"] for error in problem["errors"]} <= _OPAQUE:
        return bool(problem["errors"]) or problem["code"] in _OF_THE_MOMENT
    model = _BODIES.get(_operation(case))
    return model is not None and response.status_code == 422 and _only_rules_of_several_fields(model, case.body)


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"sha-256=:[A-Za-z0-9+/]{43}=:", text) is not None


def _only_rules_of_several_fields(model: type[BaseModel], body: Any) -> bool:
    """Whether each field is as the document says, so that the refusal is one of their fit, or of what they name."""
    try:
        model.model_validate(body)
    except ValidationError as error:
        return all(fault["type"] == "value_error" for fault in error.errors())
    return True
