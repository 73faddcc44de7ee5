"""Who may call, and what a call that is repeated gets."""

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.roles import Role
from models.tables.base import LOCAL_OWNER, Base, Json, created_now, word


class Key(Base):
    """What a caller shows to be let in. The token itself is nowhere; whoever has lost it makes another key."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(Text, index=True)
    role: Mapped[Role] = mapped_column(word(Role))
    #: For people: what the key is for.
    name: Mapped[str] = mapped_column(Text)
    #: The start of the token, by which it is looked up and by which people know it again. It opens nothing.
    prefix: Mapped[str] = mapped_column(String(32), unique=True)
    #: sha256 of the whole token in hex. The token has 256 random bits, so that a slow hash would add nothing.
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = created_now()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    #: Written at most once a minute.
    last_used_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The answer that a POST with an Idempotency-Key once got, stored in the transaction that made it."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(Text, primary_key=True, server_default=LOCAL_OWNER)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    #: Of the request: another one with the same key is refused.
    body_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    headers: Mapped[Json]
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = created_now()

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)
