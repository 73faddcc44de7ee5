"""torch's format from before 1.6, which is no zip: four pickles one after the other, then the bare numbers.

Many published checkpoints are such files. Order (torch.serialization._legacy_save): a magic number, the protocol
version, facts on the machine, the object itself, the list of storage keys; then for each key in that order an int64
count and the elements.
"""

import struct
from pathlib import Path
from typing import Any

from core.errors import Rejected
from worker.intake.pickle_walk import MAX_PICKLE_BYTES, SAVE_INSTEAD, Walk, walk

#: How such a file starts: a pickle of torch's magic number.
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def read_legacy(path: Path) -> Walk:
    """The object's pickle, walked, after everything around it was found in order. Raises Rejected."""
    with path.open("rb") as file:
        window = file.read(MAX_PICKLE_BYTES)
    version = _next(window, len(MAGIC), "the format's version")
    if version.value != _PROTOCOL:
        raise _damaged(f"its version is {str(version.value)[:50]}, not {_PROTOCOL}")
    machine = _next(window, version.end, "the record of the machine")
    if not isinstance(machine.value, dict) or machine.value.get("little_endian") is not True:
        raise Rejected(
            f"The checkpoint was written on a machine with another byte order. {SAVE_INSTEAD}", code="byte_order"
        )
    found = _next(window, machine.end, "the checkpoint's pickle")
    keys = _next(window, found.end, "the list of storages")
    _check_storages(path, keys.end, keys.value, found)
    return found


def _next(window: bytes, start: int, where: str) -> Walk:
    found = walk(window[start:], where=where, offset=start)
    found.end += start
    return found


def _check_storages(path: Path, position: int, keys: Any, found: Walk) -> None:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _damaged("its list of storages is none")
    if sorted(keys) != sorted(found.storages):
        raise _damaged("its list of storages does not fit its tensors")
    size = path.stat().st_size
    with path.open("rb") as file:
        for key in keys:
            storage = found.storages[key]
            file.seek(position)
            count = file.read(_COUNT.size)
            position += _COUNT.size + storage.nbytes
            if position > size or _COUNT.unpack(count)[0] != storage.numel:
                raise _damaged(f"storage {key} is not as long as its tensors need, so the file was cut off or changed")
    if position != size:
        raise _damaged(f"{size - position:,} bytes follow its last storage")


def _damaged(what: str) -> Rejected:
    return Rejected(
        f"The checkpoint is damaged: {what}. Save it again with torch.save and upload it anew.", code="damaged"
    )
