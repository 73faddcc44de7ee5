"""What there was before owners is of `local`; things of several owners keep the older schema from coming back."""

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from core import db

_UPLOAD = "INSERT INTO uploads (id, filename, size, sha256, storage_key{more}) VALUES ('{id}', 'a', 1, '0', 'k'{value})"


def _run(statement: str) -> None:
    with db.engine().begin() as connection:
        connection.execute(text(statement))


def _migrate(to: str, *, down: bool = False) -> None:
    with db.migrating() as config:
        (command.downgrade if down else command.upgrade)(config, to)


@pytest.fixture
def migrated(bare_database: str) -> None:
    """The schema with owners, over one upload of before."""
    _migrate("0002")
    _run(_UPLOAD.format(id="upl_A", more="", value=""))
    _migrate("0003")


def test_what_there_was_is_of_local_and_goes_back(migrated: None) -> None:
    with db.engine().connect() as connection:
        assert connection.scalar(text("SELECT owner FROM uploads")) == "local"
    _migrate("0002", down=True)
    with db.engine().connect() as connection:
        assert connection.scalar(text("SELECT id FROM uploads")) == "upl_A"


def test_things_of_two_owners_do_not_go_back(migrated: None) -> None:
    _run(_UPLOAD.format(id="upl_B", more=", owner", value=", 'vision'"))
    with pytest.raises(ProgrammingError, match="several owners"):
        _migrate("0002", down=True)
    with db.engine().connect() as connection:
        assert connection.scalar(text("SELECT count(DISTINCT owner) FROM uploads")) == 2
