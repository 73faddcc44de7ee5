"""Seeds for the separate uses of chance in one job, all drawn from its one seed.

Every stream is a pure function of the job's seed and of what it is for, so that a resumed run draws what the
uninterrupted one drew, and one more use of chance never shifts the others.
"""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: `derive(0, "order", epoch)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
