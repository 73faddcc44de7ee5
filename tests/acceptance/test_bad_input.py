"""Bad files and bad specs, all the way through: refused in words, nothing stored half, no code of theirs run."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from scripts.client import Client, Refused
from scripts.stack import Stack

pytestmark = pytest.mark.acceptance

MLP = {"type": "mlp", "hidden": [256]}


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def failed(thing: dict[str, Any]) -> str:
    assert thing["status"] == "rejected"
    return " ".join(line["detail"] for line in thing["report"]["checks"] if line["result"] == "fail")


@pytest.mark.parametrize("form", ["torch.save", "plain pickle"])
def test_a_pickle_with_code_in_it_never_runs(client: Client, tmp_path: Path, form: str) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "teacher.pth"
    if form == "torch.save":
        torch.save({"head.weight": Trap(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(canary)))
    said = failed(client.checked(client.teacher("trap", path, MLP)))
    assert said
    assert not canary.exists()
    pickle.loads(pickle.dumps(Trap(canary)))
    assert canary.exists(), "the trap does spring where it is unpickled"


def test_a_teacher_of_another_architecture_is_told_which_it_is(client: Client, files: Path) -> None:
    said = failed(client.checked(client.teacher("other", files / "teacher.pth", {"type": "resnet", "depth": 8})))
    assert "mlp" in said


def test_a_truncated_zip_is_rejected(client: Client, tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("train/a/1.png", b"x" * 5000)
    (tmp_path / "images.zip").write_bytes(whole.getvalue()[:3000])
    assert failed(client.checked(client.dataset("cut", tmp_path / "images.zip", "image_classification")))


def test_a_body_that_is_not_its_digest_leaves_nothing(stack: Stack) -> None:
    files = stack.data_dir / "files"
    before = {path for path in files.rglob("*") if path.is_file()}
    digest = "sha-256=:" + "A" * 43 + "=:"
    answer = httpx.post(f"{stack.url}/uploads", content=b"bytes", headers={"Content-Digest": digest}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (400, "digest_mismatch")
    assert {path for path in files.rglob("*") if path.is_file()} == before


def test_data_that_are_still_being_checked_cannot_be_used_yet(
    client: Client, ready: dict[str, str], files: Path
) -> None:
    dataset = client.dataset("fresh", files / "digits.npz", "image_classification")
    body = {"teacher": ready["teacher"], "dataset": dataset["id"], "student": MLP, "loss": {"type": "kd"}}
    with pytest.raises(Refused, match="409"):
        client.post("/jobs", body)
    client.ready(dataset)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"loss": {"type": "kd", "T": 0}}, "/loss/T"),
        ({"loss": {"type": "alchemy"}}, "/loss/type"),
        ({"loss": {"type": "hint", "taps": [{"student": "nowhere", "teacher": "hidden.0"}]}}, "/loss/taps/0/student"),
    ],
)
def test_a_spec_that_cannot_work_names_its_field(
    client: Client, ready: dict[str, str], change: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Refused, match="422") as refused:
        client.post("/jobs", {**ready, "student": MLP, "loss": {"type": "kd"}, **change})
    assert pointer in str(refused.value)
