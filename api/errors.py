"""Every error as `application/problem+json` (RFC 9457): ours, the framework's own, and the faults of the parts below.

An answer never holds a stack trace or a path; those go to the log. docs/errors.md lists the codes.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import request_id
from api.pointers import problems
from core.errors import Malformed, Problem, RequestError, TooSlow, Unavailable

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger("distillery.api")

#: What SQLAlchemy raises where the server is away, cut the connection, or has none left.
DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeoutError)

#: Codes of the errors that the framework raises by itself.
_FRAMEWORK_CODES = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    500: "internal_error",
}


#: Statuses that HTTP itself does not have.
_PHRASES = {460: "Checksum Mismatch"}


class BodyRefused(HTTPException):
    """Raised where FastAPI reads a body: it lets nothing but an HTTPException through."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.status, error.detail)
        self.error = error


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its `responses`: all of one schema."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": _PHRASES.get(status) or HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted({*statuses, 422, 500, 503})
    }


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One error answer."""
    body = {
        "type": f"/docs/errors#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [error.as_dict() for error in errors],
        "request_id": request_id.current(),
    }
    return Response(json.dumps(body), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def of_error(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error of ours."""
    more = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, TooSlow):
        # The rest of the body is not waited for.
        more["Connection"] = "close"
    return problem(
        error.status, error.code, error.title, error.detail, errors=error.errors, headers={**more, **(headers or {})}
    )


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return of_error(error)


async def _invalid(request: Request, error: Exception) -> Response:
    """A parameter or a field that does not fit its type."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return of_error(Malformed(f"The body is not JSON: {faults[0]['ctx']['error']}, at byte {faults[0]['loc'][1]}"))
    if isinstance(error.body, bytes):
        return of_error(not_json())
    return invalid([*_parameters(faults), *_of_body(faults, error.body, request)])


def not_json() -> Malformed:
    """The error for a body that was not sent as JSON."""
    return Malformed("The body must be JSON, sent with the header `Content-Type: application/json`")


def invalid(found: Sequence[Problem], code: str = "invalid") -> Response:
    """422 for these faults."""
    first = f"{found[0].pointer or 'body'}: {found[0].message}"
    detail = first if len(found) == 1 else f"{len(found)} fields cannot work as they are; the first is {first}"
    return problem(422, code, "The request is not valid", detail, errors=found)


def _of_body(faults: Sequence[Any], body: Any, request: Request) -> list[Problem]:
    inside = [{**fault, "loc": fault["loc"][1:]} for fault in faults if fault["loc"][0] == "body"]
    if body is None and inside:
        return [Problem("", "A JSON body is required")]
    field = getattr(request.scope.get("route"), "body_field", None)
    return problems(inside, body, field.field_info if field else None)


def _parameters(faults: Sequence[Any]) -> list[Problem]:
    """Faults outside the body: `?limit` is a query parameter, `Last-Event-ID:` a header."""
    spelled = {"query": "?{}", "header": "{}:", "path": "{{{}}}"}
    return [
        Problem(spelled[fault["loc"][0]].format(fault["loc"][1]), fault["msg"].removeprefix("Value error, "))
        for fault in faults
        if fault["loc"][0] in spelled
    ]


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyRefused):
        return of_error(error.error)
    status = error.status_code
    where = f"{request.method} {request.url.path}"
    detail = {
        404: f"There is no {request.url.path}; /docs shows every route",
        405: f"{where} is not possible; the header Allow names the methods that are",
    }.get(status, error.detail or HTTPStatus(status).phrase)
    code = _FRAMEWORK_CODES.get(status, "error")
    headers = {**(error.headers or {}), **({"Allow": _allowed(request)} if status == 405 else {})}
    return problem(status, code, HTTPStatus(status).phrase, detail, headers=headers)


def _allowed(request: Request) -> str:
    """The methods of every route of this path; the framework names those of the first it finds.

    What a path is by its letters it is not by a parameter: /jobs/validate is no job.
    """
    path, routes = request.url.path, request.app.state.routes
    matching = [route for route in routes if route.path == path] or [
        route for route in routes if route.path_regex.match(path)
    ]
    return ", ".join(sorted({method for route in matching for method in route.methods}))


async def _database_down(_: Request, error: Exception) -> Response:
    log.warning("the database does not answer: %s", error.__class__.__name__, exc_info=error)
    return of_error(Unavailable("The database does not answer. Send the request again in a few seconds"))


async def _bug(request: Request, _: Exception) -> Response:
    # The server logs the exception with its trace; the caller learns only that it is ours.
    detail = f"The service failed at {request.method} {request.url.path}; this is a fault of ours and is in its log"
    return problem(500, "internal_error", "The service has a fault", detail)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""
    app.add_exception_handler(RequestError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    for down in DATABASE_DOWN:
        app.add_exception_handler(down, _database_down)
    app.add_exception_handler(Exception, _bug)
