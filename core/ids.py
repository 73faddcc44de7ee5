"""Ids: a prefix that says what it is, then 24 letters and digits from the system's random source (142 bits)."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """`new_id("job")` is `job_` and 24 characters that nobody can guess."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(24))
