"""The OpenAPI document, over all routes: what a reader, a generator of clients and a tester of contracts need of it."""

import re
from typing import Any

import jsonschema_rs
import pytest

from api import gate
from api.answers import ANSWERS
from api.main import create_app

DOCUMENT: dict[str, Any] = create_app().openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
#: What a name begins with says what the operation does.
VERBS = {
    "get", "list", "create", "delete", "cancel", "pause", "resume", "retry", "validate", "download", "recheck",
    "begin", "continue", "end", "describe", "change", "rotate", "test", "replay", "revoke",
}  # fmt: skip
#: What has more than bytes and JSON to say.
MEDIA_TYPES = {
    "create_upload": {"application/json"},
    "download_student": {"application/octet-stream"},
    "download_artifact": {"application/octet-stream", "application/json", "*/*"},
    "list_events": {"application/json", "text/event-stream"},
    "get_logs": {"text/plain"},
    "get_prometheus_metrics": {"text/plain"},
}

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def good(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {status: answer for status, answer in operation["responses"].items() if status < "300"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, able to find what it refers to."""
    return {**schema, "components": DOCUMENT["components"]}


@every_operation
def test_its_name_reads_well_in_a_client(name: str) -> None:
    operation = OPERATIONS[name]
    verb, _, rest = operation["operationId"].partition("_")
    assert verb in VERBS
    assert rest
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}


def test_the_names_of_the_main_job() -> None:
    named = {operation["operationId"]: name for name, operation in OPERATIONS.items()}
    assert named["create_job"] == "POST /jobs"
    assert named["get_job"] == "GET /jobs/{job_id}"
    assert named["list_jobs"] == "GET /jobs"
    assert named["cancel_job"] == "POST /jobs/{job_id}/cancel"
    assert named["download_student"] == "GET /jobs/{job_id}/student.pth"


@every_operation
def test_its_answers_are_told_and_shown(name: str) -> None:
    assert good(OPERATIONS[name]), "it can go well"
    for status, answer in good(OPERATIONS[name]).items():
        assert answer["description"] != "Successful Response", status
        content = answer.get("content", {})
        assert bool(content) or status == "204" or name.startswith(("POST /uploads/resumable", "HEAD")), status
        if "$ref" in content.get("application/json", {}).get("schema", {}):
            assert content["application/json"]["example"], status


@every_operation
def test_its_media_types_are_those_it_has(name: str) -> None:
    operation = OPERATIONS[name]
    said = {media_type for answer in good(operation).values() for media_type in answer.get("content", {})}
    assert said <= MEDIA_TYPES.get(operation["operationId"], {"application/json"})
    if operation["operationId"] in MEDIA_TYPES:
        assert said == MEDIA_TYPES[operation["operationId"]]


@every_operation
def test_every_error_that_its_form_allows_is_documented(name: str) -> None:
    operation, (method, path) = OPERATIONS[name], name.split(" ")
    taken = {parameter["name"] for parameter in operation.get("parameters", [])}
    role = gate.needed(method, path)
    needed = set()
    if role is not None:
        needed |= {"401", "429"}
    if role is not None and role != "viewer":
        needed |= {"403"}
    if "{" in path:
        needed |= {"404"}
    if "requestBody" in operation:
        needed |= {"400", "413"}
    if "If-Match" in taken:
        needed |= {"412"}
    if "Idempotency-Key" in taken:
        needed |= {"409"}
    if "requestBody" in operation or any(parameter["in"] != "path" for parameter in operation.get("parameters", [])):
        needed |= {"422"}
    else:
        assert "422" not in operation["responses"], "nothing in it can be of the wrong form"
    if path != "/healthz":
        needed |= {"500", "503"}
    assert needed <= set(operation["responses"])


@every_operation
def test_its_parameters_are_described(name: str) -> None:
    for parameter in OPERATIONS[name].get("parameters", []):
        assert parameter.get("description"), parameter["name"]
        if parameter["in"] == "path":
            assert parameter["required"]
            assert parameter["example"], parameter["name"]


@every_operation
def test_the_examples_of_its_body_are_what_it_takes(name: str) -> None:
    body = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json")
    if body is None:
        return
    assert body["examples"]
    for example in body["examples"].values():
        jsonschema_rs.validate(resolved(body["schema"]), example["value"])


@pytest.mark.parametrize("schema", ANSWERS)
def test_the_examples_of_answers_are_what_they_show(schema: str) -> None:
    jsonschema_rs.validate(resolved({"$ref": f"#/components/schemas/{schema}"}), ANSWERS[schema])
    properties = DOCUMENT["components"]["schemas"][schema]["properties"]
    assert set(ANSWERS[schema]) <= set(properties), "an example shows what there is"


def test_a_body_of_bytes_is_no_form() -> None:
    for name, operation in OPERATIONS.items():
        for media_type in operation.get("requestBody", {}).get("content", {}):
            assert re.fullmatch(r"application/(json|(offset\+)?octet-stream)", media_type), name


def test_no_default_is_an_object_and_no_choice_is_told_by_a_default() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, said in schema.get("properties", {}).items():
            assert not isinstance(said.get("default"), dict), (name, field)
        if "const" in schema.get("properties", {}).get("type", {}):
            assert "type" in schema["required"], name
