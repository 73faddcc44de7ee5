"""Who calls: the owner whose things a request may see, and what its role lets it do. `api.gate` finds it out."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from models.roles import Role
from models.tables import LOCAL_OWNER


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request. `key_id` is None while no key exists."""

    owner: str
    role: Role
    key_id: str | None = None


#: Who reaches a service that has no keys: it listens on this machine alone.
LOCAL = Caller(LOCAL_OWNER, Role.ADMIN)


async def _caller(request: Request) -> Caller:
    # async although it waits for nothing: a plain function would cost each request a trip to a thread.
    found: Caller | None = request.scope.get("caller")
    assert found is not None, "the gate lets nobody in here without a key"
    return found


#: The caller of a route.
Who = Annotated[Caller, Depends(_caller)]
