"""Makes uploads, good and hostile, and hands them in."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.canonical import TeacherMeta
from models.spec.students import ResNet
from models.work import IntakeOrder, IntakeResult
from worker import jail
from worker.engine.networks import build_network
from worker.intake import teacher

_CODE = Path(__file__).resolve().parents[4]
SHARED = _CODE.parent / "shared" / "data"
RESNET8 = {"type": "resnet", "depth": 8}


def order(folder: Path, upload: bytes, spec: Mapping[str, Any]) -> IntakeOrder:
    """A work folder as the worker makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    (folder / "upload").write_bytes(upload)
    made = IntakeOrder(kind="teacher", spec=dict(spec), filename="teacher.pth")
    (folder / "order.json").write_text(made.model_dump_json())
    return made


def examine(folder: Path, upload: bytes, spec: Mapping[str, Any]) -> IntakeResult:
    """The verdict, reached in this process."""
    return teacher.convert(order(folder, upload, spec), folder)


def meta_of(result: IntakeResult) -> TeacherMeta:
    """What is known of an accepted teacher."""
    assert result.ready, result.report["checks"]
    return TeacherMeta.model_validate(result.meta)


def checks(result: IntakeResult) -> list[dict[str, str]]:
    """The lines of the report."""
    lines = result.report["checks"]
    assert isinstance(lines, list)
    return lines


def verdict(result: IntakeResult) -> tuple[str, str]:
    """Code and sentence of the check that failed."""
    assert not result.ready
    last = checks(result)[-1]
    assert last["result"] == "fail"
    return last["id"], last["detail"]


def pointers(result: IntakeResult) -> list[str]:
    """The fields of the spec that the verdict points at."""
    errors = result.report["errors"]
    assert isinstance(errors, list)
    return [problem["pointer"] for problem in errors]


def resnet8(num_outputs: int = 10, channels: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of the smallest residual network."""
    torch.manual_seed(seed)
    network = build_network(ResNet(depth=8), (channels, 32, 32), num_outputs)
    return dict(network.module.state_dict())


def saved(content: Any, *, legacy: bool = False) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class Trap:
    """Pickles into a call that writes a canary file, for whoever unpickles it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.canary)!r}, 'w').write('it ran')",)


def traps(canary: Path) -> dict[str, bytes]:
    """The same attack in every container, and hidden among true weights."""
    hidden = {"state_dict": resnet8(), "epoch": Trap(canary)}
    bare = {f"bare-{protocol}": pickle.dumps(Trap(canary), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
    return bare | {
        "zip": saved(Trap(canary)),
        "legacy": saved(Trap(canary), legacy=True),
        "hidden-zip": saved(hidden),
        "hidden-legacy": saved(hidden, legacy=True),
        "bare-wrapped": pickle.dumps({"epoch": 1, "state": Trap(canary)}),
    }


#: The door of the converter, once for each work folder: starting torch for each of them would take minutes.
_EACH = "import pathlib; from worker.intake.__main__ import main; [main(w) for w in sorted(pathlib.Path().iterdir())]"


def examine_confined(root: Path, uploads: Mapping[str, bytes], spec: Mapping[str, Any]) -> dict[str, IntakeResult]:
    """Verdicts by name, all reached in one child that is confined as a check is."""
    for name, upload in uploads.items():
        order(root / name, upload, spec)
    reader, writer = os.pipe()
    plan = jail.Jail(os.getpid(), writer, None, 8 * 2**30, 120, 2**26, 5_000, 256)
    try:
        subprocess.run(
            jail.command(plan, [sys.executable, "-P", "-c", _EACH]),
            cwd=root,
            env={"PYTHONPATH": str(_CODE), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            pass_fds=[writer],
            check=True,
        )
    finally:
        os.close(writer)
        os.close(reader)
    results = {name: (root / name / "out" / "result.json").read_bytes() for name in uploads}
    return {name: IntakeResult.model_validate_json(data) for name, data in results.items()}
