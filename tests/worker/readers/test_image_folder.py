"""Class folders in archives, as people pack them."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.readers.uploads import IMAGES, accept, folders, grey, noise, picture, refuse, tarred, zipped


def test_rows_are_sorted_by_class_and_path_whatever_the_archive(tmp_path: Path) -> None:
    files = folders()
    backwards = dict(reversed(files.items()))
    first = accept(tmp_path / "a", zipped(files), IMAGES)
    assert first.meta.classes == ["cat", "dog"]
    assert first.meta.input_shape == (1, 4, 4)
    assert first.x.dtype == np.uint8
    assert first.y.tolist() == [0] * 10 + [1] * 10
    assert first.x[:, 0, 0, 0].tolist() == [10 * place + number for number in (0, 1) for place in range(10)]
    for name, upload in (("tar", tarred(backwards)), ("gz", tarred(files, "gz")), ("xz", tarred(backwards, "xz"))):
        other = accept(tmp_path / name, upload, IMAGES)
        assert np.array_equal(other.x, first.x)
        assert np.array_equal(other.split, first.split)
    assert (tmp_path / "a/out/data.safetensors").read_bytes() == (tmp_path / "xz/out/data.safetensors").read_bytes()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "eval", "dev", "VAL"])
@pytest.mark.parametrize("top", ["", "photos/", "a/b/c/"])
def test_folders_of_splits_are_kept(tmp_path: Path, val: str, top: str) -> None:
    files = {**folders(5, f"{top}Train/"), **folders(2, f"{top}{val}/"), **folders(3, f"{top}test/")}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.counts == {"train": 10, "val": 4, "test": 6}
    assert ready.split.tolist() == [0] * 10 + [1] * 4 + [2] * 6
    assert ready.report["split"] == {
        "rule": "As uploaded: val and test.",
        "seed": None,
        "val": "as uploaded",
        "test": "as uploaded",
    }
    assert ready.report["histogram"]["test"] == {"cat": 3, "dog": 3}


def test_a_missing_val_is_cut_from_train_alone(tmp_path: Path) -> None:
    files = {**folders(10, "train/"), **folders(3, "test/")}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, split={"val": 0.2})
    assert ready.meta.counts == {"train": 16, "val": 4, "test": 6}
    assert ready.report["split"]["val"] == {"cut_from_train": 0.2}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped(folders(names=("bus", "car", "train"))), IMAGES)
    assert ready.meta.classes == ["bus", "car", "train"]


def test_what_systems_leave_behind_is_not_seen(tmp_path: Path) -> None:
    junk = {
        "__MACOSX/cat/._0.png": b"x",
        "cat/.DS_Store": b"x",
        "cat/Thumbs.db": b"x",
        "dog/desktop.ini": b"x",
        ".git/config": b"x",
    }
    ready = accept(tmp_path / "x", zipped({**junk, **folders()}), IMAGES)
    assert len(ready.y) == 20
    assert ready.report["bad_rows"]["count"] == ready.report["ignored"]["count"] == 0


def test_stray_files_are_listed_and_left_aside(tmp_path: Path) -> None:
    strays = {"set/README.md": b"hello", "set/cat/notes.txt": b"hello"}
    files = {**strays, **folders(top="set/")}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert [line["name"] for line in ready.report["ignored"]["listed"]] == ["set/README.md", "set/cat/notes.txt"]
    assert len(ready.y) == 20


def test_windows_separators_count_as_folders(tmp_path: Path) -> None:
    files = {name.replace("/", "\\"): content for name, content in folders(top="set/").items()}
    assert accept(tmp_path / "x", zipped(files), IMAGES).meta.classes == ["cat", "dog"]


def test_accents_are_one_letter(tmp_path: Path) -> None:
    # macOS packs "é" as "e" and an accent; the list of classes is typed with the letter.
    files = folders(names=("cafe\u0301", "tea"))
    ready = accept(tmp_path / "x", zipped(files), IMAGES, classes=["tea", "caf\u00e9"])
    assert ready.meta.classes == ["tea", "caf\u00e9"]


def test_numbers_are_ordered_by_value(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped(folders(names=("10", "9", "2"))), IMAGES)
    assert ready.meta.classes == ["2", "9", "10"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    out = io.BytesIO(tarred(folders()))
    with tarfile.open(fileobj=out, mode="a") as archive:
        info = tarfile.TarInfo("cat/passwd.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    ready = accept(tmp_path / "x", out.getvalue(), IMAGES)
    [ignored] = ready.report["ignored"]["listed"]
    assert ignored["name"] == "cat/passwd.png"
    assert "link" in ignored["reason"]


def test_links_in_a_zip_are_not_followed(tmp_path: Path) -> None:
    out = io.BytesIO(zipped(folders()))
    with zipfile.ZipFile(out, "a") as archive:
        info = zipfile.ZipInfo("cat/passwd.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    ready = accept(tmp_path / "x", out.getvalue(), IMAGES)
    assert [line["name"] for line in ready.report["ignored"]["listed"]] == ["cat/passwd.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_twice_counts_once(tmp_path: Path) -> None:
    out = io.BytesIO(zipped(folders()))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("cat/0.png", grey(99))
    ready = accept(tmp_path / "x", out.getvalue(), IMAGES)
    assert ready.x[0, 0, 0, 0] == 0
    assert ready.report["ignored"]["count"] == 1


def test_a_file_that_is_no_picture_is_a_bad_row_with_its_name(tmp_path: Path) -> None:
    files = {**folders(100), "dog/broken.png": b"no picture", "dog/cut.png": grey(5, 40, 40)[:-40]}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.report["bad_rows"]["count"] == 2
    assert ready.report["bad_rows"]["share"] == pytest.approx(2 / 202)
    listed = {line["name"]: line["reason"] for line in ready.report["bad_rows"]["listed"]}
    assert "not an image" in listed["dog/broken.png"]
    assert "damaged" in listed["dog/cut.png"]
    assert len(ready.y) == 200
    assert "bad_rows" in ready.warnings()


def test_too_many_bad_rows_reject_the_set(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped({**folders(), "dog/broken.png": b"no picture"}), IMAGES)
    assert refused.code == "bad_rows"
    assert refused.pointers == ["/max_bad_share"]
    assert "1 of 21 rows" in refused.detail
    assert refused.report["bad_rows"]["listed"][0]["name"] == "dog/broken.png"


def test_a_folder_without_a_picture_is_refused(tmp_path: Path) -> None:
    for empty in ({"emu/": b""}, {"emu/notes.txt": b"none yet"}):
        refused = refuse(tmp_path / "x", zipped({**folders(), **empty}), IMAGES)
        assert refused.code == "empty_class"
        assert "'emu'" in refused.detail


def test_a_class_of_broken_pictures_is_refused(tmp_path: Path) -> None:
    files = {**folders(), "emu/0.png": b"no picture"}
    refused = refuse(tmp_path / "x", zipped(files), IMAGES, max_bad_share=0.5)
    assert refused.code == "class_without_train"
    assert "'emu'" in refused.detail


def test_a_class_that_is_only_in_test_is_refused(tmp_path: Path) -> None:
    files = {**folders(5, "train/"), **folders(5, "test/", ("cat", "dog", "emu"))}
    refused = refuse(tmp_path / "x", zipped(files), IMAGES)
    assert refused.code == "class_without_train"
    assert "'emu'" in refused.detail


def test_a_class_that_test_lacks_is_told(tmp_path: Path) -> None:
    files = {**folders(5, "train/"), **folders(5, "test/", ("cat",))}
    assert "'dog'" in accept(tmp_path / "x", zipped(files), IMAGES).warnings()["class_absent"]


def test_names_that_differ_by_case_are_refused(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(folders(names=("Cat", "cat", "dog"))), IMAGES)
    assert refused.code == "class_case"
    assert "'Cat', 'cat'" in refused.detail


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", zipped(folders(names=("cat",))), IMAGES).code == "classes"


def test_pictures_without_folders_are_refused(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped({f"{place}.png": grey(place) for place in range(5)}), IMAGES)
    assert refused.code == "layout"
    assert "cat/1.png" in refused.detail


def test_test_rows_alone_are_refused(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", zipped(folders(top="test/")), IMAGES).code == "split"


def test_differing_sizes_become_the_median(tmp_path: Path) -> None:
    files = {**folders(9), "cat/wide.png": grey(7, 8, 20), "dog/small.png": grey(7, 2, 2)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.input_shape == (1, 4, 4)
    assert "median, 4 x 4" in ready.warnings()["image_size"]


def test_resizing_is_bilinear_and_antialiased(tmp_path: Path) -> None:
    stripes = np.tile(np.array([[0, 255]], np.uint8), (8, 4))  # one pixel wide: a plain cut would be 0 or 255
    files = {**folders(), "cat/stripes.png": picture(stripes)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, image={"size": [4, 4]})
    inner = ready.x[10, 0, 1:3, 1:3]
    assert np.all(abs(inner.astype(int) - 127) < 30)


def test_a_size_may_be_asked_for(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped(folders()), IMAGES, image={"size": [6, 3], "channels": 3})
    assert ready.meta.input_shape == (3, 6, 3)
    assert len(ready.meta.mean) == 3


def test_forms_of_colour(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    clear = np.dstack([red, np.full((4, 4), 128, np.uint8)])
    deep = np.full((4, 4), 65535, np.uint16)
    files = {
        "a/0_rgb.png": picture(red),
        "a/1_rgba.png": picture(clear),
        "a/2_palette.png": picture(red, mode="P"),
        "a/3_jpeg.jpg": picture(red, "JPEG", quality=95),
        "a/4_cmyk.jpg": picture(red, "JPEG", mode="CMYK", quality=95),
        "a/5_webp.webp": picture(red, "WEBP", lossless=True),
        "a/6_bmp.bmp": picture(red, "BMP"),
        "a/7_tiff.tif": picture(red, "TIFF"),
        "a/8_gif.gif": picture(red, "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")]),
        "a/9_ppm.ppm": picture(red, "PPM"),
        "b/0_deep.png": picture(deep),
        "b/1_grey_alpha.png": picture(np.full((4, 4), 255, np.uint8), mode="LA"),
        "b/2_bilevel.png": picture(np.full((4, 4), 255, np.uint8), mode="1"),
    }
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.input_shape == (3, 4, 4)
    wanted = np.array([[255, 0, 0]] * 10 + [[255, 255, 255]] * 3)
    assert np.abs(ready.x[:, :, 0, 0].astype(int) - wanted).max() <= 2


def test_grey_forms_stay_grey(tmp_path: Path) -> None:
    half = np.full((4, 4), 128 * 257, np.uint16)
    files = {
        "a/0.png": picture(half),
        "a/1.png": picture(np.full((4, 4), 128, np.uint8), mode="P"),
        "a/2.jpg": picture(np.full((4, 4), 128, np.uint8), "JPEG"),
        **folders(names=("b",)),
    }
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.input_shape == (1, 4, 4)
    assert ready.x[:3, 0, 0, 0].tolist() == [128, 128, 128]


def test_fractions_are_not_guessed_at(tmp_path: Path) -> None:
    files = {**folders(), "cat/fractions.tif": picture(np.full((4, 4), 0.5, np.float32), "TIFF")}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, max_bad_share=0.1)
    assert "fractions" in ready.report["bad_rows"]["listed"][0]["reason"]


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, :4] = 255  # white on the left; turned by a quarter, clockwise, it is on top
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {f"{name}/{place}.jpg": picture(pixels, "JPEG", exif=exif) for name in "ab" for place in range(4)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.input_shape == (1, 8, 4)
    assert ready.x[0, 0, 0].min() > 200
    assert ready.x[0, 0, -1].max() < 50


def test_grey_pictures_stored_in_colour_are_told(tmp_path: Path) -> None:
    files = {f"{name}/{place}.png": picture(np.full((4, 4, 3), 9, np.uint8)) for name in "ab" for place in range(4)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.meta.input_shape == (3, 4, 4)
    assert "image.channels" in ready.warnings()["colour"]


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    pixels = noise(40, 5, 6, 3)
    files = {f"{'ab'[place % 2]}/{place:02}.png": picture(pixels[place]) for place in range(40)}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    train = ready.x[ready.split == 0] / 255.0
    assert ready.meta.mean == pytest.approx(train.mean(axis=(0, 2, 3)).tolist(), rel=1e-12)
    assert ready.meta.std == pytest.approx(train.std(axis=(0, 2, 3)).tolist(), rel=1e-9)
    assert np.array_equal(ready.x, np.concatenate([pixels[::2], pixels[1::2]]).transpose(0, 3, 1, 2))


def test_pictures_are_the_rule_where_texts_lie_beside_them(tmp_path: Path) -> None:
    files = folders()
    notes = {name.replace(".png", suffix): b"a,b\n1,2\n" for name in files for suffix in (".txt", ".box", ".csv")}
    assert len(accept(tmp_path / "x", zipped({**notes, **files}), IMAGES).y) == 20
