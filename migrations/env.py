"""What Alembic runs: the connection that core.db hands over, or one of its own where a person calls Alembic by hand."""

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine

from core.db import database_url
from models.tables import Base


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    engine = create_engine(database_url(), poolclass=NullPool)
    with engine.begin() as own:
        _run(own)
