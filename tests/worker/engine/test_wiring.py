"""Lessons are fitted together before the first of them is held: what is wrong with any of them is found there."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, run
from worker.engine.wiring import wire

CPU = torch.device("cpu")
MLP = {"type": "mlp", "hidden": [24]}


def refused(order: Any, folder: Path) -> tuple[str, str, str]:
    with pytest.raises(UserConfig) as caught:
        wire(order, folder, CPU)
    return caught.value.code, caught.value.errors[0].pointer, caught.value.detail


def test_what_is_wrong_with_an_assistant_is_found_before_anything_is_trained(small: Make, tmp_path: Path) -> None:
    taps = [{"student": "hidden.7", "teacher": "hidden.0"}]
    order = small(assistants=[{"student": MLP}, {"student": MLP, "loss": {"type": "hint", "taps": taps}}])
    code, pointer, detail = refused(order, tmp_path / "work")
    assert (code, pointer) == ("unknown_tap", "/assistants/1/loss/0/taps/0/student")
    assert "hidden.0" in detail


def test_taps_are_paired_anew_for_each_stage(small: Make, tmp_path: Path) -> None:
    two = {"type": "mlp", "hidden": [24, 20]}
    order = small(assistants=[{"student": two}], loss={"type": "hint"}, student=two)
    report = run(order, tmp_path / "work").report
    assert report["stages"][0]["taps"] == {"hint": [{"student": "hidden.1", "teacher": "hidden.0"}]}
    assert report["taps"] == {"hint": [{"student": f"hidden.{at}", "teacher": f"hidden.{at}"} for at in range(2)]}


def test_a_peer_that_cannot_be_built_points_to_itself(small: Make, tmp_path: Path) -> None:
    wide = {"type": "layers", "layers": [{"type": "conv", "out": 4, "kernel": 31, "padding": 0}]}
    order = small(teacher={"type": "peers", "students": [MLP, wide]})
    code, pointer, _ = refused(order, tmp_path / "work")
    assert code == "network"
    assert pointer.startswith("/teacher/students/1")


def test_branches_need_stages(small: Make, tmp_path: Path) -> None:
    shape = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "num_heads": 2}
    vit = {"type": "timm", "name": "vit_tiny_patch16_224", "kwargs": {**shape, "depth": 1}}
    code, pointer, detail = refused(small(teacher={"type": "branches"}, student=vit), tmp_path / "work")
    assert (code, pointer) == ("too_few_stages", "/student")
    assert "two or more" in detail


def test_students_that_teach_each_other_need_labels(tmp_path: Path, few_digits: Data, small_teacher: Any) -> None:
    tensors, meta = few_digits
    bare = {**tensors, "y": torch.full_like(tensors["y"], -1)}
    record = meta.model_copy(update={"labelled": {"train": 0, "val": 0, "test": 0}})
    for teacher in ({"type": "ema"}, {"type": "peers", "students": [MLP]}, {"type": "born_again"}):
        order = orders.make_workdir(tmp_path, (bare, record), small_teacher, orders.spec(teacher=teacher))
        assert refused(order, tmp_path)[:2] == ("needs_labels", "/teacher")
