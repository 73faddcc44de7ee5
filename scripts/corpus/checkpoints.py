"""Hostile checkpoints in every container, and good ones."""

import gzip
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import safetensors.torch
import torch

from scripts.corpus import programs
from scripts.corpus.case import MLP, Canary, Case, Trap
from scripts.corpus.weights import Member, in_legacy, in_tar, in_zip, members, raw_zip, saved, state
from scripts.corpus.weights import safetensors as framed

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    yield from _programs(canary)
    yield from _on_paper()
    yield from _other_forms(canary)
    yield from _safetensors()
    yield from good()


def _programs(canary: Canary) -> Iterator[Case]:
    containers: dict[str, Callable[[bytes], bytes]] = {
        "bare": bytes, "zip": in_zip, "old form": in_legacy, "tar": in_tar,
    }  # fmt: skip
    written = programs.programs(canary) | programs.dumped(canary)
    for name, program in written.items():
        for container, wrap in containers.items():
            group = f"pickle opcodes, {container}"
            yield Case(group, name, partial(wrap, program), spec=MLP)
    for module, function in programs.GADGETS:
        by_name, by_stack = (make(module, function, canary) for make in (programs.by_name, programs.by_stack))
        yield Case("pickle imports", f"{module}.{function} in a zip", partial(in_zip, by_name), spec=MLP)
        yield Case("pickle imports", f"{module}.{function} in the old form", partial(in_legacy, by_name), spec=MLP)
        yield Case("pickle imports", f"{module}.{function} bare, by the stack", partial(bytes, by_stack), spec=MLP)
    for name, bomb in programs.bombs().items():
        for container in ("bare", "zip", "old form"):
            wrap = containers[container]
            yield Case("pickle bombs", f"{name}, {container}", partial(wrap, bomb), spec=MLP, by_limit=True)
    hidden = {"state_dict": state(), "optimizer": Trap(exec, canary.code)}
    for legacy in (False, True):
        form = "old form" if legacy else "zip"
        make = partial(saved, hidden, legacy=legacy)
        yield Case("programs among true weights", f"beside the weights, {form}", make, spec=MLP)
        make = partial(saved, {**state(), "hidden.9.weight": Trap(exec, canary.code)}, legacy=legacy)
        yield Case("programs among true weights", f"as a weight, {form}", make, spec=MLP)
    good = members(saved(state()))
    pickled = next(content for name, content in good.items() if name.endswith("data.pkl"))
    storages = {name.rsplit("/", 1)[1]: content for name, content in good.items() if "/data/" in name}
    for name, second in {"a trap": Trap(exec, canary.code).pickled, "a blank": b" "}.items():
        make = partial(in_zip, pickled + second, storages)
        yield Case("programs among true weights", f"{name} behind the end of data.pkl", make, spec=MLP)


class _Storage:
    """Pickles as a reference to a storage in the file."""

    def __init__(self, *reference: Any) -> None:
        self.reference = reference


class _Tensor:
    """Pickles as a call of torch's own that makes a tensor."""

    def __init__(self, *arguments: Any, make: Any = torch._utils._rebuild_tensor_v2) -> None:
        self._call = make, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        """Tuples as torch writes them."""
        return thing.reference if isinstance(thing, _Storage) else None


def _described(*tensor: Any, storage: tuple[Any, ...] = ("storage", torch.FloatStorage, "0", "cpu", 4)) -> bytes:
    """A checkpoint of one tensor that is said to be so over 16 bytes."""
    out = io.BytesIO()
    arguments = (_Storage(*storage), *tensor)
    _Pickler(out, 2).dump({"w": _Tensor(*arguments)})
    return in_zip(out.getvalue(), {"0": bytes(16)})


def _on_paper() -> Iterator[Case]:
    """Tensors that do not lie where they are said to."""
    rest: tuple[Any, ...] = (False, {})
    lies = {
        "beyond its storage": (0, (5,), (1,), *rest),
        "an offset beyond": (4, (1,), (1,), *rest),
        "a negative offset": (-1, (2,), (1,), *rest),
        "a stride beyond": (0, (2, 2), (100, 1), *rest),
        "a negative stride": (3, (4,), (-1,), *rest),
        "terabytes by a stride of 0": (0, (2**40,), (0,), *rest),
        "a size that overflows": (0, (2**62, 4), (4, 1), *rest),
        "a negative size": (0, (-4,), (1,), *rest),
        "more strides than sizes": (0, (4,), (1, 1), *rest),
        "a size that is text": (0, "4444", (1,), *rest),
        "thirty dimensions": (0, (1,) * 30, (1,) * 30, *rest),
        "too few arguments": (0,),
    }
    for name, tensor in lies.items():
        yield Case("tensors that lie", name, partial(_described, *tensor), spec=MLP)
    plain = (0, (4,), (1,), *rest)
    references: dict[str, tuple[Any, ...]] = {
        "longer than the file's": ("storage", torch.FloatStorage, "0", "cpu", 2**40),
        "of another type": ("storage", torch.DoubleStorage, "0", "cpu", 4),
        "with a key that is a path": ("storage", torch.FloatStorage, "../../../etc/passwd", "cpu", 4),
        "with a key that is none": ("storage", torch.FloatStorage, "7", "cpu", 4),
        "of a negative length": ("storage", torch.FloatStorage, "0", "cpu", -4),
        "without a length": ("storage", torch.FloatStorage, "0"),
        "that is a module": ("module", torch.FloatStorage, "0", "cpu", 4),
        "of quantised numbers": ("storage", torch.QInt8Storage, "0", "cpu", 16),
    }
    for name, storage in references.items():
        yield Case("tensors that lie", f"a storage {name}", partial(_described, *plain, storage=storage), spec=MLP)
    kinds: dict[str, Callable[[], Any]] = {
        "sparse COO": lambda: torch.eye(3).to_sparse(),
        "meta": lambda: torch.empty(3, device="meta"),
        "complex": lambda: torch.zeros(3, dtype=torch.complex64),
        "quantised": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8),
        "8-bit floats": lambda: torch.zeros(3).to(torch.float8_e5m2),
        "a bare storage": lambda: torch.zeros(3).untyped_storage(),
        "a whole module": lambda: torch.nn.Linear(2, 2),
        "an object array": lambda: np.array([{}], object),
        "a random generator's state": lambda: np.random.default_rng(0),
    }
    for name, make in kinds.items():
        yield Case("what is no dense tensor", name, partial(_saved_of, make), spec=MLP)
    for name, legacy in {"a module itself": False, "a module itself, old form": True}.items():
        yield Case("what is no dense tensor", name, partial(saved, torch.nn.Linear(2, 2), legacy=legacy), spec=MLP)


def _saved_of(make: Callable[[], Any]) -> bytes:
    with warnings.catch_warnings(action="ignore"):  # torch speaks of the future of quantised tensors
        return saved({"w": make()})


def _other_forms(canary: Canary) -> Iterator[Case]:
    trap = Trap(exec, canary.code).pickled
    script = {"net/data.pkl": trap, "net/code/__torch__.py": canary.code.encode(), "net/constants.pkl": b"\x80\x02)."}
    exported = {"net/archive_format": b"pt2", "net/models/model.json": b"{}", "net/data/weights/w.pt": trap}
    keras = {"config.json": b'{"module": "os"}', "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
    archives = {
        "TorchScript": script,
        "torch.export (.pt2)": exported,
        "Keras": keras,
        "a wheel": {"x/__init__.py": b""},
    }
    for name, files in archives.items():
        make = partial(raw_zip, [Member(file, content) for file, content in files.items()])
        yield Case("other programs and wrappers", name, make, spec=MLP)
    inside = saved(state())
    forms: dict[str, Callable[[], bytes]] = {
        "gzip around a checkpoint": lambda: gzip.compress(inside),
        "zip around a checkpoint": lambda: raw_zip([Member("teacher.pth", inside)]),
        "7z": lambda: b"7z\xbc\xaf\x27\x1c" + bytes(64),
        "an object array": lambda: _npy(np.array([Trap(exec, canary.code)], object)),
        "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(500),
        "GGUF": lambda: b"GGUF\x03\x00\x00\x00" + b"\xff" * 16,
        "an ELF program": lambda: b"\x7fELF\x02\x01\x01" + bytes(200),
        "a shell script": lambda: b"#!/bin/sh\n" + canary.shell.encode(),
        "a web page": lambda: b"<!DOCTYPE html><html></html>",
        "a Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a picture with a program behind it": lambda: b"\x89PNG\r\n\x1a\n" + trap,
        "nothing": lambda: b"",
        "one byte": lambda: b"\x80",
        "zeros": lambda: bytes(4096),
        "noise": lambda: np.random.default_rng(0).bytes(4096),
    }
    for name, form in forms.items():
        yield Case("other programs and wrappers", name, form, spec=MLP)


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def _safetensors() -> Iterator[Case]:
    many = {f"t{i}": {"dtype": "F32", "shape": [], "data_offsets": [4 * i, 4 * i + 4]} for i in range(100_000)}
    lies = {
        "header said to be 8 exabytes": framed({"w": _F32}, bytes(8), 2**63 - 1),
        "header of no length": framed({"w": _F32}, bytes(8), 0),
        "header longer than the file": framed({"w": _F32}, bytes(8), 5_000),
        "header that is no JSON": framed(b"{'w': }", bytes(8)),
        "header that nests a hundred thousand deep": framed(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "offsets beyond the file": framed({"w": {**_F32, "data_offsets": [0, 2**40], "shape": [2**38]}}, bytes(8)),
        "offsets that overlap": framed({"w": _F32, "v": _F32}, bytes(8)),
        "offsets that run backwards": framed({"w": {**_F32, "data_offsets": [8, 0]}}, bytes(8)),
        "negative offsets": framed({"w": {**_F32, "data_offsets": [-8, 0]}}, bytes(8)),
        "a shape that does not fit": framed({"w": {**_F32, "shape": [3]}}, bytes(8)),
        "a shape that overflows": framed({"w": {**_F32, "shape": [2**63, 2]}}, bytes(8)),
        "a type that is none": framed({"w": {**_F32, "dtype": "OBJECT"}}, bytes(8)),
        "8-bit floats": framed({"w": {"dtype": "F8_E5M2", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
        "one name twice": framed(
            b'{"w":%s,"w":%s}' % ((b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}',) * 2), bytes(8)
        ),
        "metadata that is no text": framed({"__metadata__": {"a": 1}, "w": _F32}, bytes(8)),
        "bytes behind the end": framed({"w": _F32}, bytes(16)),
        "a gap between tensors": framed({"w": _F32, "v": {**_F32, "data_offsets": [16, 24]}}, bytes(24)),
        "a hundred thousand tensors": framed(many, bytes(400_000)),
        "no tensor": framed({}),
        "cut off": safetensors.torch.save(state())[:-4],
        "NaN in every weight": safetensors.torch.save({name: w * float("nan") for name, w in state().items()}),
    }
    for name, lie in lies.items():
        yield Case("safetensors that lie", name, partial(bytes, lie), spec=MLP, by_limit="hundred thousand" in name)


def good() -> Iterator[Case]:
    """What has to be accepted."""

    def made(change: Callable[[dict[str, torch.Tensor]], Any], *, legacy: bool = False) -> Callable[[], bytes]:
        return lambda: saved(change(state()), legacy=legacy)

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))]).state_dict()
    forms: dict[str, Callable[[], bytes]] = {
        "state_dict": made(lambda s: s),
        "state_dict, old form": made(lambda s: s, legacy=True),
        "wrapped, with an optimizer": made(
            lambda s: {"state_dict": s, "optimizer": optimizer, "epoch": 3, "best": 0.9}
        ),
        "from DataParallel and compile": made(lambda s: {f"module._orig_mod.{name}": w for name, w in s.items()}),
        "half precision": made(lambda s: {name: w.half() for name, w in s.items()}),
        "bfloat16, old form": made(lambda s: {name: w.bfloat16() for name, w in s.items()}, legacy=True),
        "double precision": made(lambda s: {name: w.double() for name, w in s.items()}),
        "parameters": made(lambda s: {name: torch.nn.Parameter(w) for name, w in s.items()}),
        "views of one storage": made(_views),
        "transposed in memory": made(lambda s: {name: w.t().contiguous().t() for name, w in s.items()}),
        "safetensors": lambda: safetensors.torch.save(state()),
        "safetensors with metadata": lambda: safetensors.torch.save(state(), {"format": "pt", "by": "a team"}),
        "beside an infinite score": made(_with_score),
    }
    for name, make in forms.items():
        yield Case("good checkpoints", name, make, spec=MLP, expected="accepted")


def _views(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    flat = torch.cat([w.flatten() for w in weights.values()])
    parts = torch.split(flat, [w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}


def _with_score(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {"state_dict": weights, "best_loss": float("inf")}
