"""Makes uploads of every form, converts them as the door does, and opens what comes out."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from safetensors.numpy import load_file

from models.canonical import DatasetMeta
from models.spec.shapes import stored
from models.work import IntakeOrder, IntakeResult
from worker.intake.dataset import convert
from worker.readers.base.limits import LIMITS, Limits

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
IMAGES, SOUNDS = "image_classification", "audio_classification"
CLASSES, VALUES = "tabular_classification", "tabular_regression"


@dataclass(frozen=True)
class Ready:
    """A good verdict and the tensors of its file."""

    report: dict[str, Any]
    meta: DatasetMeta
    x: NDArray[Any]
    y: NDArray[Any]
    split: NDArray[np.uint8]
    #: Of texts: tokens by id.
    vocabulary: tuple[str, ...] = ()

    def warnings(self) -> dict[str, str]:
        """Check -> detail of those that only warn."""
        return {line["id"]: line["detail"] for line in self.report["checks"] if line["result"] == "warn"}

    def column(self, name: str) -> dict[str, Any]:
        """What the report says of a column."""
        return next(column for column in self.report["columns"] if column["name"] == name)


@dataclass(frozen=True)
class Refused:
    """A bad verdict."""

    report: dict[str, Any]
    code: str
    detail: str

    @property
    def pointers(self) -> list[str]:
        """The fields of the spec that it blames."""
        return [error["pointer"] for error in self.report["errors"]]


def order(task: str, spec: Mapping[str, object], filename: str = "upload") -> IntakeOrder:
    return IntakeOrder(kind="dataset", spec={"task": task, **spec}, filename=filename)


def verdict(
    folder: Path, upload: bytes | Path, task: str, limits: Limits = LIMITS, **spec: object
) -> tuple[IntakeResult, Path]:
    """(the verdict, the work folder) of an upload."""
    folder.mkdir(exist_ok=True)
    target = folder / "upload"
    target.unlink(missing_ok=True)
    if isinstance(upload, Path):
        target.symlink_to(upload)
    else:
        target.write_bytes(upload)
    result = convert(order(task, spec, "mine.dat"), folder, limits)
    assert sorted(path.name for path in folder.iterdir()) == ["out", "upload"], "scratch files are left"
    return result, folder


def accept(folder: Path, upload: bytes | Path, task: str, limits: Limits = LIMITS, **spec: object) -> Ready:
    """An upload that has to be good."""
    result, folder = verdict(folder, upload, task, limits, **spec)
    assert result.ready, result.report["checks"]
    assert result.meta is not None
    assert result.file is not None
    tensors, meta = load_file(folder / "out" / result.file), DatasetMeta.model_validate(result.meta)
    assert sorted(tensors.keys() - {"vocabulary"}) == ["split", "x", "y"]
    assert tensors["x"].shape == (len(tensors["y"]), *stored(meta.input_shape))
    assert meta.counts == {
        name: int((tensors["split"] == place).sum()) for place, name in enumerate(("train", "val", "test"))
    }
    vocabulary = tensors["vocabulary"].tobytes().decode().split("\n") if "vocabulary" in tensors else []
    return Ready(result.report, meta, tensors["x"], tensors["y"], tensors["split"], tuple(vocabulary))


def refuse(folder: Path, upload: bytes | Path, task: str, limits: Limits = LIMITS, **spec: object) -> Refused:
    """An upload that has to be refused, with nothing left behind."""
    result, folder = verdict(folder, upload, task, limits, **spec)
    assert not result.ready, result.report
    assert result.meta is None
    assert result.file is None
    assert list((folder / "out").iterdir()) == []
    last = [line for line in result.report["checks"] if line["result"] == "fail"]  # type: ignore[attr-defined]
    assert len(last) == 1
    return Refused(result.report, last[0]["id"], last[0]["detail"])


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive; a name that ends in `/` is a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], compression: str = "") -> bytes:
    """A tar archive: compression is "", "gz", "xz" or "bz2"."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def picture(pixels: ArrayLike, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """A picture file of (H, W) or (H, W, C) bytes, converted to a mode of Pillow before it is saved."""
    out = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def grey(value: int, height: int = 4, width: int = 4) -> bytes:
    """A PNG of one grey."""
    return picture(np.full((height, width), value, np.uint8))


def folders(num: int = 10, top: str = "", names: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes]:
    """`num` grey pictures a class; picture i of class k has the value 10 * i + k."""
    return {
        f"{top}{name}/{place}.png": grey((10 * place + number) % 256)
        for number, name in enumerate(names)
        for place in range(num)
    }


def npz(**arrays: Any) -> bytes:
    """An .npz file."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def idx(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Bytes that reach both 0 and 255."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    pixels.reshape(-1)[:2] = 0, 255
    return pixels
