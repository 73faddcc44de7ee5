"""Keys by HTTP, for those who have the role `admin`: the gate lets nobody else in here."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api.body import JsonRoute
from api.errors import documented
from api.idempotency import Post
from api.paging import Cursor, Limit, page_of_all
from api.schemas import Answer
from core import db, keys
from models.roles import Role
from models.tables import Key

router = APIRouter(prefix="/keys", tags=["keys"], route_class=JsonRoute)

Owner = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="Whose things the key reaches. Whoever has keys of one owner shares these things.",
        examples=["vision"],
    ),
]


class KeyCreate(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    owner: Owner
    role: Role = Field(default=Role.USER, description="`viewer` reads, `user` does the rest, `admin` manages keys too.")
    name: str = Field(default="", max_length=200, description="What it is for, in your words.", examples=["ci"])
    days: float | None = Field(
        default=None, gt=0, le=36_500, description="It expires after so many days. Left out: never.", examples=[90]
    )


class KeyView(Answer):
    """A key, without its token, which nobody can be told again."""

    id: str
    owner: str
    role: Role
    name: str
    prefix: str = Field(description="The start of the token, to know it by.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="At most a minute behind.")


class KeyMade(KeyView):
    """A new key."""

    token: str | None = Field(
        description="What to send as `Authorization: Bearer ...`. It is shown this once: null where the answer is "
        "given again to the same Idempotency-Key."
    )


class KeyList(Answer):
    """A page of keys."""

    items: list[KeyView]
    next_cursor: str | None


_EXAMPLES = {"ci": {"summary": "A key for ninety days", "value": {"owner": "vision", "name": "ci", "days": 90}}}


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    summary="Make a key",
    response_model=KeyMade,
    responses=documented(400, 401, 403, 409, 413),
)
def create_key(request: Request, once: Post, body: Annotated[KeyCreate, Body(openapi_examples=_EXAMPLES)]) -> Any:
    """The token is in this answer and nowhere else: not in the service, not in its log.

    The answer that is kept for an Idempotency-Key lacks it too. Revoke a key whose first answer was lost.
    """
    with once.transaction() as session:
        made = keys.make(session, body.owner, body.role, name=body.name, days=body.days)
        view = KeyMade(**KeyView.model_validate(made.key).model_dump(), token=made.token)
        answer = once.answer(view, secret=frozenset({"token"}))
    request.app.state.gate.forget()
    return answer


@router.get("", operation_id="list_keys", summary="Keys, newest first", responses=documented(401, 403))
def list_keys(
    owner: Annotated[str | None, Query(max_length=63, description="Of this owner alone.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> KeyList:
    """A page of keys, revoked and expired ones among them; `next_cursor` leads to the next and is null on the last."""
    query = select(Key) if owner is None else select(Key).where(Key.owner == owner.replace("\x00", ""))
    with db.session() as session:
        found = page_of_all(session, Key, query, limit, cursor)
        return KeyList(items=[KeyView.model_validate(row) for row in found.rows], next_cursor=found.next_cursor)


@router.delete(
    "/{key_id}",
    status_code=204,
    response_class=Response,
    operation_id="revoke_key",
    summary="Revoke a key",
    responses=documented(401, 403, 404),
)
def revoke_key(key_id: str, request: Request) -> None:
    """It opens nothing from now on, at other copies of the API within two seconds. The key stays in the list."""
    with db.session() as session:
        keys.revoke(session, key_id.replace("\x00", ""))
    request.app.state.gate.forget()
