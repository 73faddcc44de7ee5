"""Data sets in archives: bombs, links, devices, names that lead out, pictures that are none; and good ones."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from PIL import Image

from scripts.corpus.case import IMAGES, Canary, Case
from scripts.corpus.weights import Member, raw_zip

_LINK = (stat.S_IFLNK | 0o777) << 16


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    groups: dict[str, dict[str, Callable[[], bytes]]] = {
        "archive names that lead out": _names(canary),
        "archive bombs": _bombs(),
        "archives that lie": _lies(),
        "pictures that are bombs or none": _pictures(canary),
    }
    for group, made in groups.items():
        for name, make in made.items():
            yield Case(group, name, make, "dataset", IMAGES)
    for name, make in _left_out(canary).items():
        yield Case("links, devices and doubles: left out of a good set", name, make, "dataset", IMAGES, "accepted")
    yield from good()


def good() -> Iterator[Case]:
    """What has to be accepted."""
    for name, make in _good().items():
        yield Case("good images", name, make, "dataset", IMAGES, "accepted")


def picture(value: int = 0, form: str = "PNG", mode: str = "L", size: tuple[int, int] = (6, 6)) -> bytes:
    """A picture of one grey."""
    out = io.BytesIO()
    Image.new("L", size, value % 256).convert(mode).save(out, form)
    return out.getvalue()


def folders(num: int = 12, suffix: str = "png", **options: str) -> dict[str, bytes]:
    """`num` pictures for each of two classes."""
    return {f"{name}/{i}.{suffix}": picture(20 * i + k, **options) for k, name in enumerate("ab") for i in range(num)}  # type: ignore[arg-type]


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], *odd: tarfile.TarInfo, compression: str = "") -> bytes:
    """A tar archive; `odd` are headers without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for info in odd:
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _odd(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 3
    return info


def _names(canary: Canary) -> dict[str, Callable[[], bytes]]:
    paths = {
        "absolute": str(canary.outside), "upwards": f"../../../..{canary.outside}",
        "upwards inside": "a/../../../x.png",
        "of Windows, upwards": "..\\..\\x.png", "with a drive": "C:\\Windows\\x.png",
        "of a server": "\\\\host\\share\\x.png",
        "of 3,000 characters": "a/" + "x" * 3000 + ".png", "200 folders deep": "a/" * 200 + "x.png",
    }  # fmt: skip
    made: dict[str, Callable[[], bytes]] = {}
    for name, path in paths.items():
        made[f"{name}, zip"] = partial(zipped, {**folders(), path: picture()})
        made[f"{name}, tar"] = partial(tarred, {**folders(), path: picture()})
    return made


def _left_out(canary: Canary) -> dict[str, Callable[[], bytes]]:
    links = [
        Member(f"a/link{i}.png", target, attributes=_LINK) for i, target in enumerate((b"/etc/passwd", b"../../x"))
    ]
    files = [Member(name, content) for name, content in folders().items()]
    link, hard = _odd("a/link.png", tarfile.SYMTYPE, "/etc/passwd"), _odd("a/hard.png", tarfile.LNKTYPE, "/etc/shadow")
    through = _odd("a/out", tarfile.SYMTYPE, str(canary.outside.parent))
    junk = {"__MACOSX/a/._0.png": b"\0", ".git/config": b"x", "a/Thumbs.db": b"x", "b/.DS_Store": b"x"}
    return {
        "symbolic links, zip": partial(raw_zip, [*links, *files]),
        "symbolic and hard links, tar": partial(tarred, folders(), link, hard),
        "a link to a folder and a file through it, tar": partial(
            tarred, {**folders(), "a/out/x.png": picture()}, through
        ),
        "devices and pipes, tar": partial(
            tarred,
            folders(),
            _odd("a/null.png", tarfile.CHRTYPE),
            _odd("a/disk.png", tarfile.BLKTYPE),
            _odd("a/pipe.png", tarfile.FIFOTYPE),
        ),
        "one name twice, zip": partial(raw_zip, [*files, Member(files[0].name, picture(99))]),
        "hidden files and those of systems": partial(zipped, {**folders(), **junk}),
        "programs beside the pictures": partial(
            zipped, {**folders(), "a/x.py": canary.code.encode(), "setup.sh": b"#!"}
        ),
    }


def _bombs() -> dict[str, Callable[[], bytes]]:
    def quine_like() -> bytes:
        inner = zipped({"a/0.png": bytes(20_000_000), "b/0.png": bytes(20_000_000)})
        for _ in range(3):
            inner = zipped({f"a/{i}.zip": inner for i in range(10)})
        return inner

    def overlapping() -> bytes:
        """Many names for the same bytes (D. Fifield, A better zip bomb, 2019)."""
        kernel = Member("a/0.png", bytes(5_000_000), method=zipfile.ZIP_DEFLATED)
        return raw_zip(
            [kernel, *(Member(f"b/{i}.png", kernel.content, zipfile.ZIP_DEFLATED, header=0) for i in range(300))]
        )

    def packed(compress: Callable[[bytes], bytes], megabytes: int) -> bytes:
        block = compress(bytes(2**20 * 10))
        return block * (megabytes // 10)

    return {
        "zip of 20 GB said to be so": lambda: raw_zip([Member(f"a/{i}.png", b"x", size=2**31) for i in range(10)]),
        "zip of zeros": partial(zipped, {f"{c}/{i}.png": bytes(40_000_000) for c in "ab" for i in range(2)}),
        "zip in zip in zip": quine_like,
        "overlapping members": overlapping,
        "gzip of zeros": partial(packed, gzip.compress, 500),
        "xz of zeros": partial(packed, lzma.compress, 500),
        "bzip2 of zeros": partial(packed, bz2.compress, 500),
        "gzip in gzip": lambda: gzip.compress(gzip.compress(b"a,b\n1,2\n" * 100)),
        "tar.gz of one huge file": lambda: gzip.compress(_tar_header("a/0.png", 2**32) + bytes(200_000_000), 1),
        "three hundred thousand empty members": lambda: raw_zip(
            [Member(f"a/{i}", b"") for i in range(65_000)], count=65_000, comment=b"x" * 10
        ),
    }


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _lies() -> dict[str, Callable[[], bytes]]:
    def long_names(levels: int) -> bytes:
        """Each header says that the next one's name is long (GNU tar)."""
        one = _odd("././@LongLink", b"L")
        one.size = 1
        return (one.tobuf(tarfile.GNU_FORMAT) + b"x" + bytes(511)) * levels + tarred(folders())

    def pax(**headers: str) -> bytes:
        info = tarfile.TarInfo("a/0.png")
        info.pax_headers = headers
        return info.tobuf(tarfile.PAX_FORMAT) + tarred(folders())

    def sparse() -> bytes:
        return pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**50)})

    good_zip, good_tar = zipped(folders()), tarred(folders())
    files = [Member(name, content) for name, content in folders().items()]
    return {
        "a zip cut off": lambda: good_zip[:-50],
        "a tar cut in a header": lambda: good_tar[:2000],
        "a tar with a broken header": lambda: good_tar[:1024] + b"\xff" * 512 + good_tar[1536:],
        "a tar of a negative size": lambda: _tar_header("a/0.png", 0)[:124] + b"\xff" * 12 + good_tar[136:],
        "ten thousand long names in a row": partial(long_names, 10_000),
        "a pax size of text": partial(pax, size="many"),
        "a pax size of an exabyte": partial(pax, size=str(2**60)),
        "a pax path upwards": partial(pax, path="../../x.png"),
        "a sparse file of a petabyte": lambda: sparse()[:1536],
        "encrypted": partial(raw_zip, [Member(m.name, m.content, flags=1) for m in files]),
        "packed by a method that is none": partial(raw_zip, [Member(m.name, m.content, method=98) for m in files]),
        "more members than there are": partial(raw_zip, files, count=60_000),
        "a directory that is not there": partial(raw_zip, files, offset=2**31),
        "headers that overlap": partial(raw_zip, [files[0], Member("b/x.png", files[0].content, header=8), *files[1:]]),
        "every checksum wrong": partial(raw_zip, [Member(m.name, m.content, crc=1) for m in files]),
        "other names in the local headers": partial(
            raw_zip, [Member(m.name, m.content, lie_name="x/y.png") for m in files]
        ),
        "folders that differ in case": partial(zipped, {**folders(), "A/0.png": picture()}),
        "no class folders": partial(zipped, {f"{i}.png": picture(i) for i in range(5)}),
        "an empty archive": partial(zipped, {}),
        "a 7z archive": lambda: b"7z\xbc\xaf\x27\x1c" + bytes(64),
        "a RAR archive": lambda: b"Rar!\x1a\x07\x00" + bytes(64),
    }


def _png(width: int, height: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG whose header says so (W3C PNG, section 11)."""
    head = _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pictures(canary: Canary) -> dict[str, Callable[[], bytes]]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:%d/"/></svg>' % canary.port
    entity = b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg>&b;</svg>'
    postscript = (
        b"%%!PS-Adobe-3.0 EPSF-3.0\n%%%%BoundingBox: 0 0 9 9\n(%s) (w) file closefile\n" % str(canary.outside).encode()
    )
    text_bomb = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    whole = picture(5)
    bad: dict[str, bytes] = {
        "of 4 billion pixels": _png(65_535, 65_535), "of 2^62 pixels": _png(2**31 - 1, 2**31 - 1),
        "of 100 million pixels that are there": _png(10_000, 10_000, bytes(30_010_000)), "of no pixels": _png(0, 0),
        "with 200 MB of comment": _png(6, 6, extra=text_bomb), "cut off": whole[:40],
        "of noise": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "SVG that calls home": svg, "SVG with entities": entity, "PostScript": postscript,
        "a program": b"\x7fELF" + bytes(99),
        "empty": b"", "a GIF of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(40),
        "a TIFF that refers to itself": b"II*\0\x08\0\0\0\x01\0\x1a\x01\x05\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
        "a BMP of negative size": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, -9, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
        "a PPM of text": b"P6 99999999999999999999 9 255\n",
        "a JPEG without an end": b"\xff\xd8\xff\xe0" + b"\xff" * 400,
    }  # fmt: skip
    made: dict[str, Callable[[], bytes]] = {
        f"every picture {name}": partial(zipped, {f"{c}/{i}.png": content for c in "ab" for i in range(3)})
        for name, content in bad.items()
    }
    return made | {
        "one in three is broken": partial(zipped, {**folders(4), **{f"a/x{i}.png": whole[:30] for i in range(4)}})
    }


def _good() -> dict[str, Callable[[], bytes]]:
    def animated() -> bytes:
        out = io.BytesIO()
        frames = [Image.new("L", (6, 6), value) for value in (0, 99, 200)]
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
        return out.getvalue()

    def mpo() -> bytes:
        out = io.BytesIO()
        frames = [Image.new("RGB", (6, 6), (value, 0, 0)) for value in (0, 99)]
        frames[0].save(out, "MPO", save_all=True, append_images=frames[1:])
        return out.getvalue()

    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return {
        "zip": partial(zipped, folders()),
        "zip, stored": partial(zipped, folders(), zipfile.ZIP_STORED),
        "tar": partial(tarred, folders()),
        "tar.gz": partial(tarred, folders(), compression="gz"),
        "tar.xz": partial(tarred, folders(), compression="xz"),
        "train, val and test": partial(
            zipped,
            {f"{part}/{name}": content for part in ("train", "val", "test") for name, content in folders(6).items()},
        ),
        "JPEG": partial(zipped, folders(suffix="jpg", form="JPEG")),
        "WebP": partial(zipped, folders(suffix="webp", form="WEBP", mode="RGB")),
        "BMP, no suffix": partial(
            zipped, {name.split(".")[0]: content for name, content in folders(form="BMP").items()}
        ),
        "animated GIF: the first frame": lambda: zipped({**folders(suffix="gif", form="GIF"), "a/x.gif": animated()}),
        "MPO of a camera: the first frame": lambda: zipped(
            {**folders(suffix="jpg", form="JPEG", mode="RGB"), "a/x.jpg": mpo()}
        ),
        "names of Windows": partial(raw_zip, [Member(n.replace("/", "\\"), c) for n, c in folders().items()]),
        "names in many alphabets": partial(
            zipped, {n.replace("a/", "猫/").replace("b/", "Müller & Søn/"): c for n, c in folders().items()}
        ),
        "a small zip of one colour": partial(zipped, {f"{c}/{i}.png": picture(7) for c in "ab" for i in range(12)}),
        "colour noise": lambda: zipped({f"{c}/{i}.png": buffer.getvalue() for c in "ab" for i in range(12)}),
    }
