"""The docs page: Swagger UI from a package on this machine, with no byte from elsewhere, over an OpenAPI document whose
examples can be executed as they stand.
"""

import copy
import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from api import filling, gate
from api.callers import Caller
from api.document import mend
from api.errors import documented
from api.schemas import Problem
from core import db
from core.errors import NotFound, Unavailable
from models.roles import Role
from models.tables import Dataset, Job, Teacher, Upload

router = APIRouter(include_in_schema=False)

_STATIC = Path(fastapi_offline.__file__).parent / "static"
_ERRORS = Path(__file__).resolve().parents[1] / "docs" / "errors.md"

#: The browser itself sees to it that the page loads nothing from elsewhere. Swagger UI sets styles as it draws.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' "
    "data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Distillery API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/static/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START = """let token = null;
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  plugins: [() => ({
    statePlugins: {
      auth: {
        wrapActions: {
          // With the key the document is fetched anew: its examples then name what the caller has.
          authorizeWithPersistOption: (original, system) => (given) => {
            const done = original(given);
            token = given && given.key ? given.key.value : null;
            system.specActions.download("openapi.json");
            return done;
          },
          logoutWithPersistOption: (original, system) => (given) => {
            token = null;
            return original(given);
          },
        },
      },
    },
  })],
  requestInterceptor: (request) => {
    if (token && request.loadSpec) request.headers = {...request.headers, Authorization: `Bearer ${token}`};
    return request;
  },
});
"""

_ERROR_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Distillery errors</title>
<link rel="icon" href="data:,">
<style>body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif }}
h3 {{ margin-bottom: 0; font-family: monospace }} p {{ margin-top: .25rem }} :target {{ background: #ffc }}</style>
</head>
<body>
{body}
</body>
</html>
"""


@router.get("/")
def root() -> Response:
    """A person who opens the address finds the docs page."""
    return Response(status_code=307, headers={"Location": "docs"})


@router.get("/docs")
def docs() -> HTMLResponse:
    """Swagger UI."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/start.js")
def start() -> Response:
    """What starts Swagger UI; a file of its own, so that the page needs no inline script."""
    return Response(_START, media_type="text/javascript")


@router.get("/docs/errors")
def errors() -> HTMLResponse:
    """Every error code and what to do: where `type` of a problem leads."""
    if not _ERRORS.exists():
        raise NotFound("This installation came without docs/errors.md, which lists the error codes")
    page = _ERROR_PAGE.format(body=_rendered(_ERRORS.read_text()))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _rendered(markdown: str) -> str:
    """The little Markdown of that file as HTML: headings, paragraphs, and code in backquotes."""
    blocks = [html.escape(block.strip(), quote=False) for block in re.split(r"\n\s*\n", markdown)]
    return "\n".join(_block(block) for block in blocks if block)


def _block(text: str) -> str:
    heading = re.match(r"(#{1,3}) (.*)", text)
    if not heading:
        return "<p>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", text) + "</p>"
    level = len(heading[1])
    # A heading may name several codes; each is a place that `type` of a problem leads to.
    names = ", ".join(f'<span id="{name}">{name}</span>' for name in heading[2].split(", "))
    return f"<h{level}>{names}</h{level}>"


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document, its examples filled with ids that the caller has."""
    document = copy.deepcopy(request.app.openapi())
    who: Caller | None = request.scope.get("caller")
    if who is not None:
        _fill_for(who.owner, document)
    return JSONResponse(document, headers={"Cache-Control": "no-store"})


def _fill_for(owner: str, document: dict[str, Any]) -> None:
    try:
        with db.session() as session:
            _fill(document, filling.filled(session, owner), _newest(session, owner))
    except (SQLAlchemyError, Unavailable):
        # The page is needed most when something is down; it then shows placeholders.
        pass


def _newest(session: Session, owner: str) -> dict[str, str]:
    """An id for each parameter that is one."""
    tables: dict[str, type[Upload | Teacher | Dataset | Job]] = {
        "upload_id": Upload,
        "teacher_id": Teacher,
        "dataset_id": Dataset,
        "job_id": Job,
    }
    found = {
        name: session.scalar(
            select(table.id).where(table.owner == owner).order_by(table.created_at.desc(), table.id.desc()).limit(1)
        )
        for name, table in tables.items()
    }
    return {name: row_id for name, row_id in found.items() if row_id}


def _fill(document: dict[str, Any], jobs: Any, ids: dict[str, str]) -> None:
    for path in ("/jobs", "/jobs/validate"):
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"] = jobs
    if upload := ids.get("upload_id"):
        for path in ("/teachers", "/datasets"):
            body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            for example in body["examples"].values():
                example["value"]["upload"] = upload
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if known := ids.get(parameter["name"]):
                    parameter["example"] = known


_ABOUT = """Knowledge distillation as a job: hand in a trained teacher and a data set, name a student, a loss and a
temperature, and download a `student.pth` that you can ship.

Where the service has keys, press *Authorize* and give yours; the examples then name what you have.

1. **POST /uploads** takes the files, **POST /teachers** and **POST /datasets** say what they are.
2. A worker checks both; they are `ready` when the report is good.
3. **POST /jobs** makes the job. Once there is a teacher and a data set that fit each other, its examples name them, so
that *Try it out* and *Execute* run one.
4. **GET /jobs/{job_id}/events** follows it, **GET /jobs/{job_id}/student.pth** fetches the student.

Every error is `application/problem+json`; [the codes are listed here](docs/errors).
"""

_TAGS = [
    {"name": "jobs", "description": "Make, follow and steer jobs"},
    {"name": "teachers", "description": "Trained networks to learn from"},
    {"name": "datasets", "description": "Data to learn on"},
    {"name": "uploads", "description": "Files"},
    {"name": "artifacts", "description": "What jobs made"},
    {"name": "webhooks", "description": "Being told of changes, instead of asking"},
    {"name": "catalog", "description": "What there is to choose from"},
    {"name": "keys", "description": "Who may call; for those with the role `admin`"},
    {"name": "health", "description": "For those who run the service"},
]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is never null in a request, whatever Python's annotation says."""
    match schema.get("anyOf"):
        case [kind, {"type": "null"}]:
            return {**kind, **{name: value for name, value in schema.items() if name != "anyOf"}}
    return schema


_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token of a key, `dk_...`, which whoever runs the service makes with `make key`. A service that "
    "has no keys needs none.",
}


def _close(operation: dict[str, Any], role: Role | None) -> None:
    """Say what key an operation needs, and what it answers without."""
    if role is None:
        return
    operation["security"] = [{"key": []}]
    refusals = (400, 401, 429) if role is Role.VIEWER else (400, 401, 403, 429)
    for status, answer in documented(*refusals).items():
        operation["responses"].setdefault(str(status), answer)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def install(app: FastAPI) -> None:
    """Serve the docs page and make the app's OpenAPI document ours."""

    @cache
    def document() -> dict[str, Any]:
        whole = get_openapi(title="Distillery", version=app.version, description=_ABOUT, routes=app.routes, tags=_TAGS)
        problem = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
        schemas = whole["components"]["schemas"]
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        whole["components"]["securitySchemes"] = {"key": _KEY}
        for path, operations in whole["paths"].items():
            for method, operation in operations.items():
                for parameter in operation.get("parameters", []):
                    parameter["schema"] = _without_null(parameter["schema"])
                _close(operation, gate.needed(method.upper(), path))
        mend(whole)
        return whole

    app.openapi = document  # type: ignore[method-assign]
    app.mount("/docs/static", StaticFiles(directory=_STATIC), name="static")
