"""What the OpenAPI document says beside what FastAPI makes of the routes: that which clients are generated from."""

import json
from typing import Any

from api import answer_headers, dependent
from api.answers import ANSWERS, IN_PATHS
from core.settings import settings

_NO_NUL = r"^[^\x00]*$"


def mend(document: dict[str, Any]) -> None:
    """Change the document in place."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in IN_PATHS:
                    parameter["description"], parameter["example"] = IN_PATHS[parameter["name"]]
                if parameter["name"] == "Upload-Length":
                    parameter["schema"]["maximum"] = settings().max_upload_bytes
            for status, answer in operation["responses"].items():
                _say_answer(document, status, answer)
            if not _reads(operation):
                operation["responses"].pop("422", None)
    _say_objects(document["components"]["schemas"])
    _say_keys(document)
    _say_texts(document)
    dependent.tell(document["components"]["schemas"])
    answer_headers.tell(document)


def _reads(operation: dict[str, Any]) -> bool:
    """Whether there is anything in a request that could be of the wrong form."""
    return "requestBody" in operation or any(each["in"] != "path" for each in operation.get("parameters", []))


def _say_answer(document: dict[str, Any], status: str, answer: dict[str, Any]) -> None:
    """A good answer says what it is, and shows one."""
    if status >= "300":
        return
    content = answer.get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name in ANSWERS:
        content["example"] = ANSWERS[name]
    if answer["description"] == "Successful Response":
        about = document["components"]["schemas"].get(name, {}).get("description", "")
        answer["description"] = about.partition("\n")[0] or "It is done"


def _say_objects(schemas: dict[str, Any]) -> None:
    """A default that is an object is told in words: generators of clients cannot hold one, and give the schema up."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if isinstance(field.get("default"), dict):
                default = json.dumps(field.pop("default"))
                said = f"Left out: `{default}`."
                field["description"] = f"{field['description']} {said}" if field.get("description") else said


def _say_keys(node: Any) -> None:
    """Mappings whose keys have a pattern, so that other keys are refused, and in words that generators know."""
    if isinstance(node, list):
        for item in node:
            _say_keys(item)
    elif isinstance(node, dict):
        match node.get("patternProperties"):
            case dict() as patterns if len(patterns) == 1:
                [(pattern, value)] = node.pop("patternProperties").items()
                node["additionalProperties"] = value
                node["propertyNames"] = {**node.get("propertyNames", {}), "pattern": pattern}
        for item in node.values():
            _say_keys(item)


def _say_texts(document: dict[str, Any]) -> None:
    """The texts of bodies hold no U+0000, which PostgreSQL cannot store: said where nothing else is said of them."""
    schemas, seen = document["components"]["schemas"], set[str]()
    found = [
        content["schema"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items()
        if media_type == "application/json"
    ]
    while found:
        node = found.pop()
        if isinstance(node, list):
            found.extend(node)
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                found.append(schemas[name])
            if node.get("type") == "string" and not node.keys() & {"pattern", "enum", "const"}:
                node["pattern"] = _NO_NUL
            found.extend(value for key, value in node.items() if key not in {"default", "example", "examples"})
