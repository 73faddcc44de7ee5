"""What all tables have in common: the metadata, the types of columns, and whose a thing is."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import DateTime, Enum, MetaData, String, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]

#: Who owns what was made while no key existed.
LOCAL_OWNER = "local"


class Base(DeclarativeBase):
    """Holds the metadata; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        # None is SQL's NULL, not JSON's.
        Json: JSONB(none_as_null=True),
        list[Json]: JSONB(none_as_null=True),
        str: String,
    }


def word(of: type[StrEnum]) -> Enum:
    """A column of one of our words: text in the database, the enum's member in Python."""
    return Enum(of, native_enum=False, length=16, values_callable=lambda words: [word.value for word in words])


def created_now() -> Mapped[datetime]:
    """When the row was made."""
    return mapped_column(server_default=func.now())


def owner_of_it() -> Mapped[str]:
    """Whose the thing is. `local`: of whoever uses the service on its own machine while no key exists."""
    return mapped_column(Text, server_default=LOCAL_OWNER)
