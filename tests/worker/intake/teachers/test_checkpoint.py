"""Checkpoints as people have them become teachers; what is none is refused with what to do instead."""

import io
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.worker.intake.teachers.makers import RESNET8, checks, examine, meta_of, resnet8, saved, traps, verdict
from worker.intake.teacher import FILE


def _canonical(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "out" / FILE)


def _assert_same(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    found = _canonical(folder)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_plain_state_dict_is_ready(tmp_path: Path, legacy: bool) -> None:
    weights = resnet8()
    meta = meta_of(examine(tmp_path, saved(weights, legacy=legacy), {"architecture": RESNET8}))
    assert (meta.num_outputs, meta.input_shape, meta.output_kind) == (10, (3, -1, -1), "logits")
    assert meta.parameters == 78_042
    _assert_same(tmp_path, weights)


def test_safetensors_is_ready(tmp_path: Path) -> None:
    weights = resnet8()
    meta_of(examine(tmp_path, safetensors.torch.save(weights), {"architecture": RESNET8}))
    _assert_same(tmp_path, weights)


def test_the_file_of_an_old_training_script_is_ready(tmp_path: Path) -> None:
    """Parallel prefixes, a wrapper, a score beside it, no batch counters, torch's format from before 1.6."""
    weights = {name: tensor for name, tensor in resnet8().items() if not name.endswith("num_batches_tracked")}
    content = {
        "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()},
        "best_prec1": 93.1,
        "epoch": 5,
        "arch": "resnet20",
    }
    result = examine(tmp_path, saved(content, legacy=True), {"architecture": RESNET8})
    meta_of(result)
    assert result.report["wrapper"] == "state_dict"
    assert result.report["ignored"] == ["best_prec1", "epoch", "arch"]
    assert result.report["stripped"] == ["module."]
    found = _canonical(tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    assert found["bn1.num_batches_tracked"] == 0


def test_an_optimizer_beside_the_weights_is_ignored(tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {"model": resnet8(), "optimizer": optimizer.state_dict(), "epoch": 1}
    result = examine(tmp_path, saved(content), {"architecture": RESNET8})
    meta_of(result)
    assert result.report["ignored"] == ["optimizer", "epoch"]


def test_compiled_and_parallel_prefixes_come_off_together(tmp_path: Path) -> None:
    weights = {f"_orig_mod.module.{name}": tensor for name, tensor in resnet8().items()}
    result = examine(tmp_path, saved(weights), {"architecture": RESNET8})
    meta_of(result)
    assert result.report["stripped"] == ["_orig_mod.", "module."]


def test_parameters_and_half_precision_become_plain_float32(tmp_path: Path) -> None:
    weights = resnet8()
    mixed = {
        name: nn.Parameter(tensor.to(torch.bfloat16), requires_grad=False) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    meta_of(examine(tmp_path, saved(mixed), {"architecture": RESNET8}))
    found = _canonical(tmp_path)
    assert {tensor.dtype for name, tensor in found.items() if "tracked" not in name} == {torch.float32}
    assert torch.equal(found["conv1.weight"], weights["conv1.weight"].bfloat16().float())


def test_views_and_shared_storages_are_read_as_they_are(tmp_path: Path) -> None:
    weights = resnet8()
    flat = torch.cat([tensor.reshape(-1) for tensor in weights.values() if tensor.is_floating_point()])
    views, at = {}, 0
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            views[name] = flat[at : at + tensor.numel()].view(tensor.shape)
            at += tensor.numel()
    transposed = dict(views) | {"fc.weight": weights["fc.weight"].t().contiguous().t()}
    meta_of(examine(tmp_path, saved(transposed), {"architecture": RESNET8}))
    assert torch.equal(_canonical(tmp_path)["fc.weight"], weights["fc.weight"])


def test_taps_are_modules_in_the_order_of_computation(tmp_path: Path) -> None:
    result = examine(tmp_path, saved(resnet8()), {"architecture": RESNET8})
    taps = {tap.name: tap.shape for tap in meta_of(result).taps}
    assert taps["layer1"] == [16, 32, 32]
    assert taps["layer3"] == [64, 8, 8]
    assert list(taps).index("conv1") < list(taps).index("layer1") < list(taps).index("layer3")
    assert "fc" not in taps
    assert result.report["stages"] == ["layer1", "layer2", "layer3"]


@pytest.mark.parametrize("form", list(traps(Path("none"))))
def test_code_in_a_pickle_is_named_and_never_run(tmp_path: Path, form: str) -> None:
    canary = tmp_path / "canary"
    code, detail = verdict(examine(tmp_path / "work", traps(canary)[form], {"architecture": RESNET8}))
    assert code == "pickle_code"
    assert "exec" in detail
    assert "byte" in detail
    assert "torch.save(model.state_dict()" in detail
    assert not canary.exists()
    assert not list((tmp_path / "work" / "out").iterdir())


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    code, detail = verdict(examine(tmp_path, saved(nn.Linear(2, 3)), {"architecture": RESNET8}))
    assert code == "pickle_code"
    assert "torch.nn.modules.linear.Linear" in detail


def test_torchscript_is_refused_as_a_program(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.save(torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2)), buffer)  # type: ignore[no-untyped-call]
    assert verdict(examine(tmp_path, buffer.getvalue(), {"architecture": RESNET8}))[0] == "torch_program"


def test_an_exported_program_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.ones(1, 2),)), buffer)
    assert verdict(examine(tmp_path, buffer.getvalue(), {"architecture": RESNET8}))[0] == "torch_program"


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


def _zip_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("upload", "code", "says"),
    [
        (b"", "empty", "empty"),
        (_tar(), "tar", "tar archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(30), "not_a_checkpoint", "7z"),
        (b"\x1f\x8b\x08" + bytes(30), "not_a_checkpoint", "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "not_a_checkpoint", "ONNX"),
        (b"\x93NUMPY\x01\x00" + bytes(30), "not_a_checkpoint", "NumPy"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_a_checkpoint", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "not_a_checkpoint", "web page"),
        (_zip_of(["a.npy", "b.npy"]), "not_a_checkpoint", "NumPy archive"),
        (_zip_of(["config.json", "model.weights.h5"]), "not_a_checkpoint", "Keras"),
        (_zip_of(["readme.txt"]), "not_a_checkpoint", "not a torch checkpoint"),
        (b"plain text", "not_a_checkpoint", "neither"),
        (b"\x80\x02]q\x00.", "bare_pickle", "bare pickle"),
        ((2**40).to_bytes(8, "little") + b"{" + bytes(100), "damaged", "cut off"),
        ((90).to_bytes(8, "little") + b'{"a": 1' + bytes(100), "damaged", "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, upload: bytes, code: str, says: str) -> None:
    found, detail = verdict(examine(tmp_path, upload, {"architecture": RESNET8}))
    assert found == code
    assert says in detail


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"state_dict": {"a": torch.ones(1)}}}, {}])
def test_a_checkpoint_without_weights_says_what_it_holds(tmp_path: Path, content: object) -> None:
    code, detail = verdict(examine(tmp_path, saved(content), {"architecture": RESNET8}))
    assert code == "no_state_dict"
    assert "state_dict" in detail


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.float8_e4m3fn)],
    ids=["complex", "sparse", "float8"],
)
def test_only_dense_real_tensors_are_read(tmp_path: Path, tensor: torch.Tensor) -> None:
    code, _ = verdict(examine(tmp_path, saved({**resnet8(), "odd": tensor}), {"architecture": RESNET8}))
    assert code == "pickle_code"


def test_float8_in_safetensors_is_refused(tmp_path: Path) -> None:
    upload = safetensors.torch.save({"odd": torch.ones(2, dtype=torch.float8_e4m3fn)})
    assert verdict(examine(tmp_path, upload, {"architecture": RESNET8}))[0] == "tensor_kind"


def test_weights_that_are_not_finite_are_counted_and_refused_where_they_do_harm(tmp_path: Path) -> None:
    weights = resnet8()
    weights["fc.weight"][3, :5] = float("nan")
    result = examine(tmp_path, saved(weights), {"architecture": RESNET8})
    assert verdict(result)[0] == "not_finite"
    assert result.report["non_finite"] == 5
    assert any(line["result"] == "warn" and "fc.weight" in line["detail"] for line in checks(result))
    assert not list((tmp_path / "out").iterdir())


def test_a_file_and_an_architecture_of_different_makes(tmp_path: Path) -> None:
    code, detail = verdict(examine(tmp_path, saved(resnet8()), {"architecture": {"type": "onnx"}}))
    assert code == "wrong_container"
    assert "torch zip" in detail
