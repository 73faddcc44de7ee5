"""Archives and compressed files as attackers and bad lines make them."""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.worker.readers.uploads import CLASSES, IMAGES, accept, folders, grey, npz, refuse, tarred, zipped
from worker.readers.base.limits import Limits

STORED = zipfile.ZIP_STORED
SMALL = Limits(ratio_from_bytes=2**20)


def test_an_empty_upload(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", b"", IMAGES).code == "empty"
    assert refuse(tmp_path / "y", zipped({}), IMAGES).code == "empty"
    assert refuse(tmp_path / "z", tarred({"__MACOSX/x": b"1", ".hidden": b"2"}), IMAGES).code == "empty"


@pytest.mark.parametrize("keep", [0.2, 0.7, 0.99])
def test_a_truncated_archive(tmp_path: Path, keep: float) -> None:
    for name, upload in (
        ("zip", zipped(folders(), STORED)),
        ("tar", tarred(folders()).rstrip(b"\x00")),
        ("gz", tarred(folders(), "gz")),
        ("xz", tarred(folders(), "xz")),
        ("bz2", tarred(folders(), "bz2")),
    ):
        refused = refuse(tmp_path / name, upload[: int(keep * len(upload))], IMAGES)
        assert refused.code == "damaged", name
        assert "Upload it again" in refused.detail


def test_a_tar_whose_middle_is_broken(tmp_path: Path) -> None:
    content = bytearray(tarred(folders()))
    content[10 * 1024 : 10 * 1024 + 100] = b"x" * 100  # each member is a header and one block of content
    assert refuse(tmp_path / "x", bytes(content), IMAGES).code == "damaged"


def test_a_member_whose_content_is_broken_is_a_bad_row(tmp_path: Path) -> None:
    upload = bytearray(zipped(folders(60), STORED))
    at = upload.find(b"IDAT")
    upload[at + 4 : at + 8] = b"\x00\x00\x00\x00"
    ready = accept(tmp_path / "x", bytes(upload), IMAGES)
    assert ready.report["bad_rows"]["listed"][0]["name"] == "cat/0.png"


@pytest.mark.parametrize(
    "name",
    [
        "../cat/1.png",
        "cat/../../1.png",
        "/etc/cat/1.png",
        "C:\\cat\\1.png",
        "c:1.png",
        "..\\cat\\1.png",
        "\\\\host\\cat\\1.png",
    ],
)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    for form, upload in (("zip", zipped({**folders(), name: grey(1)})), ("tar", tarred({**folders(), name: grey(1)}))):
        refused = refuse(tmp_path / form, upload, IMAGES)
        assert refused.code == "archive_names"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tar", "zip"]


def test_names_that_are_too_long_or_too_deep(tmp_path: Path) -> None:
    for name in ("cat/" + "x" * 2000 + ".png", "cat/" * 20 + "x.png"):
        assert refuse(tmp_path / "x", zipped({**folders(), name: grey(1)}), IMAGES).code == "archive_names"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    upload = tarred(folders(names=("caf#", "dog"))).replace(b"caf#", b"caf\xe9")
    # The checksum of each header has changed: '#' is 0x23, the byte in its place 0xe9.
    content = bytearray(upload)
    for at in range(0, len(content), 512):
        if content[at : at + 4] == b"caf\xe9":
            block = content[at : at + 512]
            total = sum(block) - sum(block[148:156]) + 8 * 0x20
            content[at + 148 : at + 156] = b"%06o\x00 " % total
    assert accept(tmp_path / "x", bytes(content), IMAGES).meta.classes == ["caf\ufffd", "dog"]


def test_a_zip_bomb(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped({**folders(), "cat/bomb.png": bytes(4 * 2**20)}), IMAGES, SMALL)
    assert refused.code == "bomb"
    assert "200 times" in refused.detail


def test_the_default_limits_catch_a_bomb(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", zipped({"cat/1.png": bytes(100 * 2**20)}), IMAGES).code == "bomb"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_stream_that_is_a_bomb(tmp_path: Path, pack: object) -> None:
    upload = pack(b"1,2,3\n" * 2**20)  # type: ignore[operator]
    assert refuse(tmp_path / "x", upload, CLASSES, SMALL).code == "bomb"


def test_a_bomb_inside_a_member(tmp_path: Path) -> None:
    upload = zipped({"x.npy": gzip.compress(b"\x93NUMPY" + bytes(8 * 2**20)), "y.npy": b"\x93NUMPY"}, STORED)
    assert refuse(tmp_path / "x", upload, IMAGES, SMALL).code in ("bomb", "damaged")


def test_members_that_overlap(tmp_path: Path) -> None:
    """Two directory entries for one member: how a small file holds the same bytes a million times."""
    content = zipped({"cat/1.png": grey(1)}, STORED)
    at = content.index(b"PK\x01\x02")
    directory, end = content[at : content.index(b"PK\x05\x06")], bytearray(content[content.index(b"PK\x05\x06") :])
    twin = directory.replace(b"cat/1.png", b"dog/1.png")
    end[8:16] = struct.pack("<HHI", 2, 2, 2 * len(directory))
    refused = refuse(tmp_path / "x", content[:at] + directory + twin + bytes(end), IMAGES)
    assert refused.code == "overlap"
    assert "cat/1.png" in refused.detail or "dog/1.png" in refused.detail


def test_sizes_that_are_only_claimed(tmp_path: Path) -> None:
    content = bytearray(zipped(folders(), STORED))
    at = content.rindex(b"PK\x01\x02")
    for packed in (10**9, 2**32 - 16):
        content[at + 20 : at + 24] = struct.pack("<I", packed)
        assert refuse(tmp_path / "x", bytes(content), IMAGES).code == "damaged"
    content = bytearray(zipped(folders(), STORED))
    end = content.index(b"PK\x05\x06")
    content[end + 8 : end + 16] = struct.pack("<HHI", 60_000, 60_000, 2**31)
    assert refuse(tmp_path / "x", bytes(content), IMAGES).code == "damaged"


def test_ten_gigabytes_are_claimed_by_a_tar(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cat/1.png")
    info.size = 10 * 2**30
    assert refuse(tmp_path / "x", info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), IMAGES).code == "damaged"


def test_too_many_members(tmp_path: Path) -> None:
    for form, upload in (("zip", zipped(folders())), ("tar", tarred(folders()))):
        assert refuse(tmp_path / form, upload, IMAGES, Limits(max_members=19)).code == "too_large"
        accept(tmp_path / form, upload, IMAGES, Limits(max_members=20))


def test_too_many_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 30), np.uint8)
    upload = npz(x=pixels, y=np.arange(40) % 2)
    for limits in (Limits(max_unpacked_bytes=30_000), Limits(max_canonical_bytes=30_000), Limits(max_rows=39)):
        assert refuse(tmp_path / "x", upload, IMAGES, limits).code == "too_large"


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(zipped(folders(), STORED))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert refuse(tmp_path / "x", bytes(content), IMAGES).code == "encrypted"


def test_a_member_of_an_odd_kind_is_a_bad_row(tmp_path: Path) -> None:
    content = bytearray(zipped(folders(60), STORED))
    content[content.index(b"PK\x01\x02") + 8] |= 0x20  # "compressed patched data"
    ready = accept(tmp_path / "x", bytes(content), IMAGES)
    assert "damaged in the archive" in ready.report["bad_rows"]["listed"][0]["reason"]


def test_a_packing_that_is_not_read(tmp_path: Path) -> None:
    content = bytearray(zipped(folders(), STORED))
    content[content.index(b"PK\x01\x02") + 10] = 93
    refused = refuse(tmp_path / "x", bytes(content), IMAGES)
    assert refused.code == "archive"
    assert "method 93" in refused.detail


def test_a_picture_of_too_many_pixels_is_a_bad_row(tmp_path: Path) -> None:
    files = {**folders(60), "cat/huge.png": grey(0, 300, 300)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, Limits(max_pixels=80_000))
    assert "300 x 300 pixels" in ready.report["bad_rows"]["listed"][0]["reason"]
    claimed = bytearray(grey(0))
    claimed[16:24] = struct.pack(">II", 100_000, 100_000)
    ready = accept(tmp_path / "y", zipped({**folders(60), "cat/huge.png": bytes(claimed)}), IMAGES)
    assert ready.report["bad_rows"]["count"] == 1


def test_a_picture_file_of_too_many_bytes_is_a_bad_row(tmp_path: Path) -> None:
    ready = accept(
        tmp_path / "x",
        zipped({**folders(60), "cat/a.png": grey(1) + bytes(5000)}),
        IMAGES,
        Limits(max_image_bytes=1000),
    )
    assert "limit" in ready.report["bad_rows"]["listed"][0]["reason"]


def test_what_nothing_here_reads(tmp_path: Path) -> None:
    for content, words in (
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
        (b"Rar!\x1a\x07" + bytes(100), "RAR"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (bytes(range(256)) * 4, "no kind that is read here"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n")), "compressed twice"),
        (zipped({"inner.zip": zipped(folders())}), "no kind that is read here"),
    ):
        refused = refuse(tmp_path / "x", content, IMAGES)
        assert refused.code == "format"
        assert words in refused.detail


def test_a_format_that_the_upload_is_not(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(folders()), IMAGES, format="npz")
    assert (refused.code, refused.pointers) == ("format", ["/format"])
    assert "looks like image_folder" in refused.detail
    accept(tmp_path / "y", zipped(folders()), IMAGES, format="image_folder")


def test_the_way_of_packing_is_reported(tmp_path: Path) -> None:
    for upload, packing in (
        (zipped(folders()), "zip"),
        (tarred(folders()), "tar"),
        (tarred(folders(), "xz"), "tar.xz"),
    ):
        assert accept(tmp_path / "x", upload, IMAGES).report["packing"] == packing
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in folders().items():
            archive.writestr(name, content)
    accept(tmp_path / "x", out.getvalue(), IMAGES)
