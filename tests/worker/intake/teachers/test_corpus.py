"""Fixtures of the public pickle scanners: the hostile are refused, and nothing in them runs.

They are opened in the confined child alone, and never unpickled here.
"""

import csv
import zipfile
from pathlib import Path

import pytest

from models.work import IntakeResult
from tests.worker.intake.teachers.makers import RESNET8, SHARED, examine_confined, traps, verdict

CORPUS = SHARED / "pickle-corpus"

Seen = dict[str, tuple[dict[str, str], IntakeResult]]


@pytest.fixture(name="seen", scope="module")
def _seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The manifest's row and our verdict for each file."""
    if not CORPUS.exists():
        pytest.skip("the shared pickle corpus is not here")
    with (CORPUS / "manifest.csv").open() as manifest:
        rows = {row["file"]: row for row in csv.DictReader(manifest)}
    with zipfile.ZipFile(CORPUS / "pickle-corpus.zip") as archive:
        uploads = {name: archive.read(name) for name in rows}
    folders = {name.replace("/", "~"): upload for name, upload in uploads.items()}
    results = examine_confined(tmp_path_factory.mktemp("corpus"), folders, {"architecture": RESNET8})
    return {name: (row, results[name.replace("/", "~")]) for name, row in rows.items()}


def test_every_hostile_file_is_refused_with_a_reason(seen: Seen) -> None:
    hostile = {name: result for name, (row, result) in seen.items() if row["label"].startswith("malicious")}
    assert len(hostile) == 49
    for name, result in hostile.items():
        code, detail = verdict(result)
        assert code in ("pickle_code", "bare_pickle", "zip_structure", "not_a_checkpoint"), (name, detail)
        assert "torch.save" in detail, name


def test_what_a_hostile_pickle_imports_is_named(seen: Seen) -> None:
    """Where the manifest's own static reading found one import that is none of torch's tensors."""
    named = 0
    for name, (row, result) in seen.items():
        imports = row["globals_static"]
        if row["container"] != "pickle" or "|" in imports or not imports or imports in ("?", "torch.LongStorage"):
            continue
        code, detail = verdict(result)
        if code == "pickle_code" and "." in imports:
            named += 1
            assert imports.split(".")[-1] in detail, (name, detail)
    assert named >= 20


def test_the_harmless_ones_are_refused_for_what_they_are(seen: Seen) -> None:
    """None of them is a network of ours; the one checkpoint among them is loaded, and holds a lone tensor."""
    codes = {name.rsplit("/", 1)[-1]: verdict(r)[0] for name, (row, r) in seen.items() if "benign" in row["label"]}
    assert codes == {
        "benign0_v0.pkl": "not_a_checkpoint",
        "new_pytorch_model.bin": "no_state_dict",
        "int_arrays.npz": "not_a_checkpoint",
        "int_arrays_compressed.npz": "not_a_checkpoint",
        "object_arrays.npz": "not_a_checkpoint",
        "object_arrays_compressed.npz": "not_a_checkpoint",
    }


def test_our_own_attacks_touch_no_canary(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    results = examine_confined(tmp_path / "work", traps(canary), {"architecture": RESNET8})
    assert {verdict(result)[0] for result in results.values()} == {"pickle_code"}
    assert not canary.exists()
