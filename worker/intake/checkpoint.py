"""A checkpoint file becomes a mapping of names to dense tensors, without running anything that it holds.

Whatever the file claims is checked against the file first, on paper; only then is it loaded, with torch's restricted
unpickler, and there is no second way of loading when that refuses.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from core.errors import Rejected
from worker.intake import zip_directory
from worker.intake.legacy import read_legacy
from worker.intake.pickle_walk import MAX_PICKLE_BYTES, SAVE_INSTEAD, Walk, walk
from worker.intake.sniff import Container
from worker.intake.zip_directory import Member

#: What torch.save puts beside the pickle and the storages. `.format_version` and `.storage_alignment`: since 2.7.
_SMALL_MEMBERS = {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
_MAX_SMALL_BYTES = 256

DTYPES = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip


def read(path: Path, container: Container) -> Any:
    """The object in the file: made of mappings, lists, numbers, text and dense tensors alone. Raises Rejected."""
    if container is Container.SAFETENSORS:
        return _read_safetensors(path)
    if container is Container.TORCH_ZIP:
        _check_zip(path)
    else:
        read_legacy(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except MemoryError:
        raise
    except Exception as error:  # the restricted unpickler answers what is broken with any kind of exception
        if "memory" in str(error):
            raise
        raise Rejected(f"torch cannot read the file: {_first_line(error)}. {SAVE_INSTEAD}", code="damaged") from None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, KeyError) as error:
        raise Rejected(
            f"The safetensors file cannot be read: {_first_line(error)}. Save it again and upload it anew.",
            code="damaged",
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def _check_zip(path: Path) -> Walk:
    try:
        members = zip_directory.read_directory(path)
    except Rejected:
        _refuse_other_zip(_names(path))
        raise
    _refuse_other_zip({member.name for member in members})
    by_name = _without_folder(members)
    if "data.pkl" not in by_name:
        raise _no_checkpoint("a zip archive")
    for name, member in by_name.items():
        if name in _SMALL_MEMBERS and member.size > _MAX_SMALL_BYTES:
            raise _unexpected(name)
        if name not in _SMALL_MEMBERS and name != "data.pkl" and not name.startswith("data/"):
            raise _unexpected(name)
    byte_order = by_name.get("byteorder")
    if byte_order and zip_directory.read_member(path, byte_order, _MAX_SMALL_BYTES) != b"little":
        raise Rejected(f"The checkpoint was written with another byte order. {SAVE_INSTEAD}", code="byte_order")
    found = walk(zip_directory.read_member(path, by_name["data.pkl"], MAX_PICKLE_BYTES), where="data.pkl")
    if found.end != by_name["data.pkl"].size:
        raise Rejected(f"data.pkl goes on after its end. {SAVE_INSTEAD}", code="pickle_damaged")
    for key, storage in found.storages.items():
        held = by_name[f"data/{key}"].size if f"data/{key}" in by_name else -1
        if held != storage.nbytes:
            raise Rejected(
                f"Storage {key} should have {storage.nbytes:,} bytes and the file holds {max(held, 0):,}: it is "
                "damaged. Save it again and upload it anew.",
                code="damaged",
            )
    zip_directory.check_sums(path, members)
    return found


def _without_folder(members: list[Member]) -> dict[str, Member]:
    """Members by name, less the one folder that torch puts all of them into; empty where there is no such folder."""
    folders = {member.name.split("/", 1)[0] for member in members}
    if len(folders) != 1 or any("/" not in member.name for member in members):
        return {}
    return {member.name.split("/", 1)[1]: member for member in members}


def _names(path: Path) -> set[str]:
    """What the archive's directory says, where it is not as torch writes it: good for a name, and for nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return set()


def _refuse_other_zip(names: set[str]) -> None:
    """Archives of known make that are no checkpoints."""
    last = {name.rsplit("/", 1)[-1] for name in names}
    if "constants.pkl" in last or any("/code/" in name for name in names):
        raise Rejected(f"The file is a TorchScript program, which is code. {SAVE_INSTEAD}", code="torch_program")
    if last & {"serialized_exported_program.json", "archive_format"}:
        raise Rejected(
            f"The file is a program saved by torch.export (.pt2), not weights. {SAVE_INSTEAD}", code="torch_program"
        )
    if names and all(name.endswith(".npy") for name in names):
        raise _no_checkpoint("a NumPy archive")
    if "model.weights.h5" in last:
        raise _no_checkpoint("a Keras model")


def _no_checkpoint(what: str) -> Rejected:
    return Rejected(f"The file is {what}, not a torch checkpoint. {SAVE_INSTEAD}", code="not_a_checkpoint")


def _unexpected(name: str) -> Rejected:
    return Rejected(
        f"The archive holds {name[:200]!r}, which torch.save does not write. {SAVE_INSTEAD}", code="zip_structure"
    )


def check_tensors(weights: Mapping[str, torch.Tensor]) -> None:
    """Plain dense CPU tensors of the known types, none larger than what it is a view of. Raises Rejected."""
    for name, tensor in weights.items():
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.dtype not in DTYPES or tensor.is_quantized:
            raise Rejected(
                f"{name} is {tensor.dtype} with layout {tensor.layout}; only dense, real, unquantised tensors are "
                f"read. {SAVE_INSTEAD}",
                code="tensor_kind",
            )
