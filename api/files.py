"""Removing stored files once the rows that named them are gone."""

import logging
from collections.abc import Iterable

from core.errors import Unavailable
from core.storage import storage

log = logging.getLogger("distillery.api")


def discard(keys: Iterable[str]) -> None:
    """Delete files that no row names any more. One that cannot be deleted now costs disk and nothing else."""
    for key in keys:
        try:
            storage().delete(key)
        except Unavailable:
            log.warning("a file without a row is left in the storage: %s", key, exc_info=True)
