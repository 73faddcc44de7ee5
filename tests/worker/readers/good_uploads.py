"""Uploads of every format, for fuzzing."""

import gzip
import io
import zipfile

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from scripts.corpus import sounds
from tests.worker.readers.uploads import CLASSES, IMAGES, SOUNDS, folders, idx, noise, npz, picture, tarred, zipped

_PLACES = np.arange(60)
_TEXT = "a, b,y\n" + "".join(f'{place},"x{place % 3}",{place % 2}\n' for place in range(60))
_OUTPUTS = "row,a,b\n" + "".join(f"{59 - place},{place / 8},-{place}.5\n" for place in range(60))
_FORMATS = {"jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "bmp": "BMP", "ppm": "PPM"}


def good() -> list[tuple[bytes, str]]:
    """(upload, task) of each form, all small enough that a random byte often matters."""
    pixels, labels = noise(40, 5, 5), (np.arange(40) % 2).astype(np.uint8)
    rows = io.BytesIO()
    parquet.write_table(pa.table({"a": _PLACES, "s": [f"v{place % 4}" for place in _PLACES], "y": _PLACES % 2}), rows)
    pictures = {
        f"{name}/1.{suffix}": picture(noise(9, 9, 3), form) for suffix, form in _FORMATS.items() for name in "ab"
    }
    return [
        (zipped(folders(12)), IMAGES),
        (zipped(pictures, zipfile.ZIP_STORED), IMAGES),
        (zipped(sounds.folders(12, bits=24), zipfile.ZIP_STORED), SOUNDS),
        (tarred(folders(12)), IMAGES),
        (tarred(folders(12), "gz"), IMAGES),
        (npz(x=pixels, y=labels), IMAGES),
        (npz(x=pixels.reshape(40, -1), y=labels), CLASSES),
        (tarred({"images": idx(pixels), "labels": idx(labels)}), IMAGES),
        (_TEXT.encode(), CLASSES),
        (_TEXT.encode("utf-16"), CLASSES),
        (gzip.compress(_TEXT.encode()), CLASSES),
        (rows.getvalue(), CLASSES),
        (npz(logits=noise(40, 5) / 8, rows=_PLACES[:40]), "teacher_outputs"),
        (_OUTPUTS.encode(), "teacher_outputs"),
    ]
