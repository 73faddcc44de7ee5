"""Every error is a problem, the framework's own included, and each code is on the page that it points to."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from api.main import create_app
from core import db
from core.errors import JobFailure, RequestError
from core.settings import settings
from tests.api.made import Made, Server, problem

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_framework_refuses(api: httpx.Client) -> None:
    problem(api.get("/nothing"), 404, "not_found")
    problem(api.get("/docs/static/nothing.js"), 404, "not_found")
    refused = api.delete("/jobs")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, POST"
    assert api.post("/jobs/job_1/student.pth").headers["allow"] == "GET, HEAD"
    assert api.head("/nothing").status_code == 404


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {"Content-Type": "application/json"}),
        (b"\xff\xfe", {"Content-Type": "application/json"}),
        (b'{"a": ' + b"[" * 200_000, {"Content-Type": "application/json"}),
        (b'{"a": ' + b"9" * 10_000 + b"}", {"Content-Type": "application/json"}),
        (b"{}", {"Content-Type": "text/plain"}),
        (b"{}", {}),
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/validate", "/teachers"])
def test_a_body_that_is_no_json(api: httpx.Client, path: str, content: bytes, headers: dict[str, str]) -> None:
    problem(api.post(path, content=content, headers=headers), 400, "malformed")


def test_no_body_at_all(api: httpx.Client) -> None:
    problem(api.post("/jobs"), 422, "invalid", "")
    problem(api.post("/jobs", json=[]), 422, "invalid", "")


def test_a_json_body_without_end(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    chunk = b'"' + b"x" * 2**20
    problem(api.post("/jobs", content=(chunk for _ in range(40)), headers=headers), 413, "too_large")


def test_text_that_is_no_text(api: httpx.Client, made: Made) -> None:
    body = json.dumps({**made.body(), "name": "\ud800"})
    answer = api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 422, "invalid", "/name")


def test_a_fault_of_ours_shows_nothing_of_itself(database: str, redis_url: str) -> None:
    server = Server()

    def breaks() -> None:
        raise RuntimeError("secret of the house")

    server.app.add_api_route("/breaks", breaks)
    with server:
        answer = httpx.get(f"{server.url}/breaks")
        figures = httpx.get(f"{server.url}/metrics").text
    assert 'distillery_requests_total{method="GET",route="/breaks",status="500"} 1.0' in figures
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text


@pytest.fixture
def no_database(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name a port where no server listens, after the database has answered once."""
    assert httpx.get(f"{server.url}/jobs").status_code == 200
    url = make_url(settings().database_url).set(host="127.0.0.1", port=9).render_as_string(hide_password=False)
    monkeypatch.setenv("DISTILLERY_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing" if "host=" in url else url)
    settings.cache_clear()
    db.engine().dispose()
    db.engine.cache_clear()


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/jobs", {}),
        ("GET", "/jobs/job_1", {}),
        ("GET", "/jobs/job_1/student.pth", {}),
        ("GET", "/jobs/job_1/events", {"headers": {"Accept": "text/event-stream"}}),
        ("POST", "/uploads", {"content": b"x"}),
        ("DELETE", "/teachers/tch_1", {}),
    ],
)
def test_a_database_that_is_away(
    api: httpx.Client, no_database: None, method: str, path: str, more: dict[str, Any]
) -> None:
    answer = api.request(method, path, **more)
    assert "database" in problem(answer, 503, "unavailable")["detail"]
    assert int(answer.headers["retry-after"]) > 0


def test_the_parts_that_are_down_are_named(
    api: httpx.Client, no_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLERY_REDIS_URL", "redis://127.0.0.1:9")
    settings.cache_clear()
    answer = api.get("/readyz")
    assert answer.headers["retry-after"]
    down = problem(answer, 503, "unavailable", "database", "redis")
    assert "127.0.0.1" not in json.dumps(down)
    assert api.get("/healthz").json() == {"status": "ok"}
    assert "distillery_database_up 0.0" in api.get("/metrics").text
    assert api.get("/openapi.json").status_code == 200


#: The classes whose codes `type` of a problem leads to: answers, and failures of jobs. Verdicts on uploads have none.
LINKED = {error.__name__ for base in (RequestError, JobFailure) for error in [base, *base.__subclasses__()]}


def raised_codes() -> set[str]:
    """The codes that such an error is raised with anywhere, read off the source, and the classes' own."""
    found = {error.code for base in (RequestError, JobFailure) for error in [*base.__subclasses__()]}
    for folder in ("api", "core", "worker"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    found |= codes_of(node)
    return found


def codes_of(call: ast.Call) -> set[str]:
    name = ast.unparse(call.func).removesuffix(".at")
    if name == "Fault":
        return constants(call.args[1])
    return {code for word in call.keywords if word.arg == "code" and name in LINKED for code in constants(word.value)}


def constants(node: ast.expr) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_every_code_is_listed_on_the_page_that_it_points_to(api: httpx.Client) -> None:
    page = api.get("/docs/errors")
    assert page.headers["content-type"].startswith("text/html")
    listed = set(re.findall(r'<span id="([a-z_]+)">', page.text))
    assert raised_codes() - listed == set(), "docs/errors.md must say what to do about these"


def test_the_openapi_document_has_one_schema_for_every_error() -> None:
    document = create_app().openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                    assert answer["content"] == content, (method, path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
