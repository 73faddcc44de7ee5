"""The door of the confined converter: `python -m worker.intake WORKDIR` (worker/confine.py starts it, a person may).

It seals itself first (worker/seal.py); what cannot be sealed is written to the file descriptor that a second argument
names, else to the log. It reads WORKDIR/order.json and WORKDIR/upload and writes WORKDIR/out/: result.json, and one
canonical file where the upload is good. A verdict, for or against, exits with 0.
"""

import errno
import os
import sys
from pathlib import Path

from core.errors import Rejected
from models.work import IntakeExit, IntakeOrder, IntakeResult
from worker.intake.report import Report
from worker.seal import seal_and_tell

#: How torch, ONNX Runtime and Arrow say that an allocation failed: they raise RuntimeError or an error of their own.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate", "malloc of size")


def main(workdir: Path) -> IntakeExit:
    """Convert, and write the verdict."""
    order = IntakeOrder.model_validate_json((workdir / "order.json").read_bytes())
    out = workdir / "out"
    out.mkdir(exist_ok=True)
    try:
        result = convert(order, workdir)
    except Exception as error:  # told apart below; what is left is a crash, with its traceback in the log
        code = _limit_reached(error)
        if code is None:
            raise
        for file in out.iterdir():
            file.unlink()
        return code
    (out / "result.json").write_text(result.model_dump_json())
    return IntakeExit.DONE


def convert(order: IntakeOrder, workdir: Path) -> IntakeResult:
    """The verdict of the converter for that kind of upload."""
    try:
        if order.kind == "teacher":
            from worker.intake import teacher

            return teacher.convert(order, workdir)
        from worker.intake import dataset

        return dataset.convert(order, workdir)
    except Rejected as error:
        return Report().rejected(error)


def _limit_reached(error: Exception) -> IntakeExit | None:
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return IntakeExit.DISK
    said = str(error).lower()
    out_of_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    return IntakeExit.MEMORY if out_of_memory or any(words in said for words in _OUT_OF_MEMORY) else None


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    seal_and_tell(folder, int(sys.argv[2]) if len(sys.argv) > 2 else sys.stderr.fileno())
    code = main(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: to tear the libraries down, object by object, takes longer than a small check.
    os._exit(code)
