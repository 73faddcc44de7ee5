"""The migrations lead from nothing to exactly the tables of models.tables, and back."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from core import db
from models.tables import Base


def test_the_migrated_database_matches_the_metadata(database: str) -> None:
    with db.engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_difference_would_be_seen(bare_database: str) -> None:
    db.upgrade()
    with db.engine().begin() as connection:
        connection.execute(text("ALTER TABLE jobs DROP COLUMN ran_s"))
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) != []


def test_upgrading_twice_changes_nothing(database: str) -> None:
    db.upgrade()
    with db.engine().connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert found == ScriptDirectory(str(db.MIGRATIONS)).get_heads()


def test_an_empty_database_is_upgraded_by_the_command_and_downgraded_again(bare_database: str) -> None:
    assert db.main(["upgrade"]) == 0
    assert set(inspect(db.engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    with db.migrating() as config:
        command.downgrade(config, "base")
    assert inspect(db.engine()).get_table_names() == ["alembic_version"]


def test_alembic_by_hand_finds_the_same(database: str) -> None:
    by_hand = Config(str(db.MIGRATIONS.parent / "alembic.ini"), stdout=StringIO())
    command.check(by_hand)


def test_two_that_migrate_at_once_both_end_well(bare_database: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        for upgraded in [pool.submit(db.upgrade) for _ in range(2)]:
            upgraded.result()
    assert set(inspect(db.engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_the_command_explains_itself() -> None:
    assert db.main(["downgrade"]) == 2
