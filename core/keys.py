"""Keys: made, looked up, revoked. `python -m core.keys --owner vision` makes one and prints its token, this once.

Its owner is `local` where none is named: what was made while there were no keys stays within reach.

A token is `dk_`, ten characters by which the key is looked up and known again, `_`, and a secret of 256 bits. Stored is
the sha256 of the whole: to guess a secret of that size is out of reach, so that a slow hash would only slow us.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, literal, or_, select, update
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from core import db
from core.errors import DistilleryError, Invalid, NotFound, Unavailable
from core.ids import new_id
from models.roles import Role
from models.tables import LOCAL_OWNER, Key

_ALPHABET = string.ascii_letters + string.digits
_LOOKUP, _SECRET = 10, 43
_TOKEN = re.compile(rf"(dk_[A-Za-z0-9]{{{_LOOKUP}}})_[A-Za-z0-9]{{{_SECRET}}}")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
#: Stands in for the hash of a key that is not there, so that the comparison takes place all the same.
_NOBODY = "0" * 64
_TOUCH_S = 60.0


@dataclass(frozen=True, slots=True)
class Made:
    """A new key, and its token, which nobody can be told again."""

    key: Key
    token: str


@dataclass(frozen=True, slots=True)
class Found:
    """The key that a token opens. `expires_in_s` is None where it does not expire, and below 0 where it has."""

    id: str
    owner: str
    role: Role
    revoked: bool
    expires_in_s: float | None


def make(session: Session, owner: str, role: Role, *, name: str = "", days: float | None = None) -> Made:
    """A new key. Invalid where the owner's name is none."""
    if not _OWNER.fullmatch(owner):
        raise Invalid.at(
            "/owner", "An owner's name is 1 to 63 letters, digits, `_`, `.` and `-`, and starts with a letter or digit"
        )
    prefix = f"dk_{_random(_LOOKUP)}"
    token = f"{prefix}_{_random(_SECRET)}"
    key = Key(id=new_id("key"), owner=owner, role=role, name=name, prefix=prefix, hash=_hash(token))
    if days is not None:
        key.expires_at = func.now() + literal(timedelta(days=days))
    session.add(key)
    session.flush()
    session.refresh(key)
    return Made(key, token)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def may_be_token(text: str) -> bool:
    """Whether the text has the form of a token; what has not never reaches the database."""
    return _TOKEN.fullmatch(text) is not None


def look_up(session: Session, token: str) -> Found | None:
    """The key of this token, whether or not it is still good; None where there is none. One query by a unique index."""
    prefix = token.rpartition("_")[0]
    expires_in = func.extract("epoch", Key.expires_at - func.now())
    query = select(Key.id, Key.owner, Key.role, Key.hash, Key.revoked_at, expires_in.label("expires_in"))
    row = session.execute(query.where(Key.prefix == prefix)).one_or_none()
    if not hmac.compare_digest(_hash(token), row.hash if row else _NOBODY) or row is None:
        return None
    expires_in_s = None if row.expires_in is None else float(row.expires_in)
    return Found(row.id, row.owner, row.role, row.revoked_at is not None, expires_in_s)


def exist(session: Session) -> bool:
    """Whether a key was ever made: from then on every request needs one, also where all were revoked."""
    return bool(session.scalar(select(select(Key.id).exists())))


def touch(session: Session, key_id: str) -> None:
    """Note that the key was used, at most once a minute."""
    stale = or_(Key.last_used_at.is_(None), Key.last_used_at < func.now() - timedelta(seconds=_TOUCH_S))
    session.execute(update(Key).where(Key.id == key_id, stale).values(last_used_at=func.now()))


def listed(session: Session, owner: str | None = None) -> Sequence[Key]:
    """The keys of an owner, or of all, newest first."""
    query = select(Key).order_by(Key.created_at.desc(), Key.id.desc())
    return session.scalars(query if owner is None else query.where(Key.owner == owner)).all()


def revoke(session: Session, named: str, owner: str | None = None) -> Key:
    """End a key, given its id or its prefix. Doing so again changes nothing. NotFound where there is none."""
    query = select(Key).where(or_(Key.id == named, Key.prefix == named)).with_for_update()
    key = session.scalars(query if owner is None else query.where(Key.owner == owner)).one_or_none()
    if key is None:
        raise NotFound(f"There is no key `{named[:100]}`; GET /keys lists the keys")
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
        session.refresh(key)
    return key


def main(arguments: list[str]) -> int:
    """The door of `python -m core.keys`."""
    parser = argparse.ArgumentParser(prog="python -m core.keys", description="Make, list or revoke keys.")
    parser.add_argument(
        "--owner", help=f"whose things the key reaches ({LOCAL_OWNER}); with --list: of this owner alone"
    )
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.USER.value)
    parser.add_argument("--name", default="", help="what it is for")
    parser.add_argument("--days", type=float, help="it expires after so many; left out: never")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--list", action="store_true", help="list the keys")
    doing.add_argument("--revoke", metavar="KEY", help="revoke a key, given its id or the start of its token")
    told = parser.parse_args(arguments)
    try:
        with db.session() as session:
            said, hint = _done(session, told)
    except DistilleryError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    except (OperationalError, ProgrammingError, Unavailable) as error:
        sys.stderr.write(f"The database does not answer, or has no tables yet (python -m core.db upgrade): {error}\n")
        return 1
    # The token alone goes to stdout, so that a script can take it from there.
    sys.stdout.write(said)
    sys.stderr.write(hint)
    return 0


def _done(session: Session, told: argparse.Namespace) -> tuple[str, str]:
    """What was asked for, and words about it for a person."""
    if told.list:
        return "".join(f"{_line(key)}\n" for key in listed(session, told.owner)), ""
    if told.revoke:
        return f"{_line(revoke(session, told.revoke, told.owner))}\n", "Revoked: it opens nothing from now on.\n"
    if told.days is not None and told.days <= 0:
        raise Invalid.at("/days", "--days must be above 0")
    made = make(session, told.owner or LOCAL_OWNER, Role(told.role), name=told.name, days=told.days)
    return (
        f"{made.token}\n",
        f"{_line(made.key)}\nThe token above is shown this once; send it as Authorization: Bearer\n",
    )


def _line(key: Key) -> str:
    marks = {"expires": key.expires_at, "revoked": key.revoked_at, "used": key.last_used_at}
    said = [f"{word} {at:%Y-%m-%d %H:%M}" for word, at in marks.items() if at is not None]
    return "  ".join(
        [key.id, key.prefix, key.owner, key.role, key.name or "-", f"made {key.created_at:%Y-%m-%d}", *said]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
