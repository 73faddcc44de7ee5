"""Tables and arrays: objects in them, claims that the file does not hold, text that is none; and good ones."""

import gzip
import io
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from scripts.corpus.archives import tarred, zipped
from scripts.corpus.case import CLASSES, IMAGES, VALUES, Canary, Case, Trap

_ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(60))
TABLE = "size,weight,kind\n" + _ROWS


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    for name, make in _arrays(canary).items():
        yield Case("arrays with objects, or that lie", name, make, "dataset", IMAGES)
    for name, make in _text().items():
        yield Case("text tables that cost or are none", name, make, "dataset", CLASSES, by_limit=True)
    for name, make in _parquet(canary).items():
        yield Case("Parquet that costs or is none", name, make, "dataset", CLASSES, by_limit=True)
    yield from good()


def good() -> Iterator[Case]:
    """What has to be accepted."""
    for name, (make, spec) in _good().items():
        yield Case("good tables and arrays", name, make, "dataset", spec, "accepted")


def npz(**arrays: Any) -> bytes:
    """An .npz file; objects are pickled into it."""
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=True, **arrays)
    return out.getvalue()


def idx(array: Any) -> bytes:
    """An IDX file of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + bytes(array.tobytes())


def _npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An array file with this header (NEP 1)."""
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text + data


def _images(num: int = 40) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x": rng.integers(0, 256, (num, 5, 5), np.uint8), "y": np.arange(num) % 2}


def _arrays(canary: Canary) -> dict[str, Callable[[], bytes]]:
    good, trap = _images(), Trap(exec, canary.code)
    labels = io.BytesIO()
    np.save(labels, good["y"])

    def lying(header: str, data: bytes = b"", version: int = 1) -> Callable[[], bytes]:
        return partial(zipped, {"x.npy": _npy(header, data, version), "y.npy": labels.getvalue()})

    pixels, classes = idx(good["x"]), idx(good["y"].astype(np.uint8))
    lies = {
        "a header of a terabyte": "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 5, 5), }",
        "a negative shape": "{'descr': '|u1', 'fortran_order': False, 'shape': (40, -5, 5), }",
        "a shape that overflows": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**62}, {2**62}), }}",
        "a header that is a program": f"{{'descr': exec({canary.code!r}), 'fortran_order': False, 'shape': (1,), }}",
        "a header that nests": "(" * 5000,
        "a header of Python 2 that never ends": "{'descr': '''",
        "a type of objects": "{'descr': '|O', 'fortran_order': False, 'shape': (40,), }",
        "a type of records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (40,), }",
        "a type of a gigabyte": "{'descr': '|S1000000000', 'fortran_order': False, 'shape': (40,), }",
        "a type that is none": "{'descr': 'q17', 'fortran_order': False, 'shape': (40, 5, 5), }",
        "no rows": "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 5, 5), }",
        "complex numbers": "{'descr': '<c8', 'fortran_order': False, 'shape': (40, 5, 5), }",
    }
    return {name: lying(header) for name, header in lies.items()} | {
        "pixels that are objects": partial(npz, x=np.array([trap] * 40, object), y=good["y"]),
        "labels that are objects": partial(npz, x=good["x"], y=np.array([trap] * 40, object)),
        "a pickle by the name of an array": partial(zipped, {"x.npy": trap.pickled, "y.npy": labels.getvalue()}),
        "a bare pickle": lambda: trap.pickled,
        "a header of 4 GB": partial(zipped, {"x.npy": b"\x93NUMPY\x02\0\xff\xff\xff\xff{", "y.npy": labels.getvalue()}),
        "pixels that are NaN": partial(npz, x=np.full((40, 5, 5), np.nan), y=good["y"]),
        "pixels of 1e308": partial(npz, x=np.full((40, 5, 5), 1e308), y=good["y"]),
        "an npz of zeros that unpacks to 400 MB": partial(npz, x=np.zeros((4_000_000, 10, 10), np.uint8), y=good["y"]),
        "more pictures than labels": partial(npz, x=good["x"], y=good["y"][:-1]),
        "IDX of 4 billion pictures": partial(
            tarred, {"images": struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 5, 5), "labels": classes}
        ),
        "IDX of 255 dimensions": partial(tarred, {"images": b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "labels": classes}),
        "IDX cut off": partial(tarred, {"images": pixels[:-100], "labels": classes}),
        "IDX of a type that is none": partial(tarred, {"images": b"\0\0\x0a\x03" + pixels[4:], "labels": classes}),
    }  # fmt: skip


def _text() -> dict[str, Callable[[], bytes]]:
    def text(content: str) -> Callable[[], bytes]:
        return content.encode

    wide = ",".join(f"c{i}" for i in range(3_000_000)) + "\n" + "1," * 2_999_999 + "1\n"
    return {
        "three million columns": text(wide),
        "ten thousand and one columns": text(",".join(f"c{i}" for i in range(10_001)) + "\n" + "1," * 10_000 + "1\n"),
        "a line of 40 MB": text("a,b\n" + "x" * 40_000_000),
        "a cell of a megabyte": text("a,b,y\n" + "".join(f"{'x' * 1_000_000},1,{i % 2}\n" for i in range(20))),
        "a quote that never ends": text('a,b,y\n1,2,a\n3,"4,b\n' + _ROWS * 3),
        "every line of another width": text("a,b,y\n" + "".join("1," * (i % 9) + "1\n" for i in range(90))),
        "NUL characters": text(TABLE.replace("3", "\0")),
        "a single column": text("a\n1\n2\n"),
        "a header alone": text("a,b,y\n"),
        "nothing but line ends": text("\n" * 10_000),
        "UTF-16 cut in a character": lambda: TABLE.encode("utf-16")[:-1] + b"\xd8",
        "bytes of no text": lambda: np.random.default_rng(0).bytes(5000),
        "a program": text("#!/bin/sh\nrm -rf nothing\n"),
        "JSON": text('{"a": [1, 2, 3]}\n'),
        "HTML": text("<html><body><table><tr><td>1</td></tr></table></body></html>"),
        "one class": text("a,b,y\n" + "1,2,x\n" * 40),
        "as many classes as rows": text("a,b,y\n" + "".join(f"1,{i},k{i}\n" for i in range(400))),
        "a gzip that is cut off": lambda: gzip.compress(TABLE.encode())[:-20],
        "two tables that say nothing of a split": partial(zipped, {"x.csv": TABLE.encode(), "z.csv": TABLE.encode()}),
    }


def _written(columns: Mapping[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), out, **options)
    return out.getvalue()


def _parquet(canary: Canary) -> dict[str, Callable[[], bytes]]:
    good = _written({"a": list(range(60)), "y": [i % 2 for i in range(60)]})
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, np.int32)), pa.array(["x" * 30_000_000]))
    return {
        "cut off": lambda: good[:-9],
        "a footer beyond the file": lambda: good[:-8] + b"\xff\xff\xff\x7fPAR1",
        "a footer of noise": lambda: good[:-60] + np.random.default_rng(0).bytes(52) + good[-8:],
        "nothing between its marks": lambda: b"PAR1" + bytes(8) + b"PAR1",
        "a text of 30 MB, 60,000 times": lambda: _written({"a": repeated, "y": [i % 2 for i in range(60_000)]}),
        "twenty thousand columns": lambda: _written({f"c{i}": [1, 2] for i in range(20_000)}),
        "nested columns alone": lambda: _written({"a": [[1], [2]] * 20, "y": [{"k": 1}, {"k": 2}] * 20}),
        "binary columns alone": lambda: _written(
            {"a": [b"\xff", b"\0"] * 20, "y": [Trap(exec, canary.code).pickled] * 40}
        ),
        "text that is no UTF-8": lambda: _written(
            {"a": pa.array([b"\xff\xfe"] * 40).view(pa.string()), "y": [i % 2 for i in range(40)]}
        ),
        "other numbers in its footer": lambda: _changed_rows(good),
        "an Arrow file": lambda: b"ARROW1\0\0" + bytes(64),
        "an SQLite database": lambda: b"SQLite format 3\0" + bytes(64),
    }


def _changed_rows(good: bytes) -> bytes:
    """The number of rows (60 as a zigzag varint, 0x78) said to be more, everywhere in the footer."""
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    return good[:footer] + good[footer:-8].replace(b"\x78", b"\x7e") + good[-8:]


def _good() -> dict[str, tuple[Callable[[], bytes], Mapping[str, Any]]]:
    def text(content: str, encoding: str = "utf-8") -> Callable[[], bytes]:
        return partial(content.encode, encoding)

    formulas = TABLE.replace("a\n", "=cmd|' /C calc'!A0\n").replace("b\n", "@SUM(1+1)\n")
    mixed = ("name,size,kind\n" + "".join(f"Jos\u00e9,{i},a\nM\u00fcller,{i},b\n" for i in range(30))).encode("cp1252")
    rows = {"a": list(range(60)), "s": [f"v{i % 4}" for i in range(60)], "y": [i % 2 for i in range(60)]}
    good = _images()
    pixels, labels = idx(good["x"]), idx(good["y"].astype(np.uint8))
    return {
        "CSV": (text(TABLE), CLASSES),
        "CSV to predict a number": (text("a,b,y\n" + "".join(f"{i},{i % 5},{i * 1.5}\n" for i in range(60))), VALUES),
        "CSV, gzip": (lambda: gzip.compress(TABLE.encode()), CLASSES),
        "CSV with a byte order mark": (text(TABLE, "utf-8-sig"), CLASSES),
        "CSV in UTF-16": (text(TABLE, "utf-16"), CLASSES),
        "CSV of Windows": (lambda: mixed, CLASSES),
        "CSV that mixes encodings": (lambda: mixed + "Jos\u00e9,5,a\n".encode(), CLASSES),
        "CSV with semicolons and CR LF": (text(TABLE.replace(",", ";").replace("\n", "\r\n")), CLASSES),
        "TSV": (text(TABLE.replace(",", "\t")), CLASSES),
        "cells that look like formulas: text": (text(formulas), CLASSES),
        "quotes, commas and line ends in cells": (
            text("a,b,y\n" + '"1, or ""one""\nor so",2,x\n3,4,z\n' * 20), CLASSES
        ),
        "two columns of one name": (text(TABLE.replace("weight", "size")), CLASSES),
        "five thousand columns of one name": (
            text("a," * 5000 + "y\n" + "".join(f"{i}," * 5000 + f"{i % 2}\n" for i in range(20))), CLASSES
        ),
        "Parquet": (lambda: _written(rows), CLASSES),
        "Parquet, zstd": (lambda: _written(rows, compression="zstd"), CLASSES),
        "npz": (partial(npz, **good), IMAGES),
        "npz of rows": (partial(npz, x=good["x"].reshape(40, -1), y=good["y"]), CLASSES),
        "npz of text labels": (partial(npz, x=good["x"], y=np.array(["cat", "dog"] * 20)), IMAGES),
        "IDX, gzip": (
            partial(tarred, {"x-ubyte.gz": gzip.compress(pixels), "y-ubyte.gz": gzip.compress(labels)}), IMAGES
        ),
    }  # fmt: skip
