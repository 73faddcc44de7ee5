"""What a key lets its bearer do. Each role may do all that the ones below it may."""

from enum import StrEnum


class Role(StrEnum):
    """The role of a key, among the things of its owner."""

    #: Also makes, lists and revokes keys.
    ADMIN = "admin"
    #: Hands in, runs, steers, deletes.
    USER = "user"
    #: Reads.
    VIEWER = "viewer"
