"""Text and numbers out of strangers' files, as JSON and PostgreSQL can hold them."""

import sys
from collections.abc import Mapping, Sequence


def plain(value: object) -> object:
    """The value without NUL and lone surrogates in its text, and without numbers that JSON does not know."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(value, int | float):
        return value if abs(value) <= sys.float_info.max else None  # nor is NaN
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value


def plain_record(record: Mapping[str, object]) -> dict[str, object]:
    """The same of a mapping of names."""
    return {str(plain(key)): plain(item) for key, item in record.items()}
