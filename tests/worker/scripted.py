"""A child for the supervisor: `python -m tests.worker.scripted WORKDIR` does what WORKDIR/../script.json says.

It speaks the engine's language (models.work) and does in seconds what a training does in hours: it makes steps, leaves
checkpoints, stops when asked, crashes, stalls. Each entry of the script is [verb, argument].
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from models.work import Exit, WorkOrder

asked = False


def main(workdir: Path) -> int:
    order = WorkOrder.model_validate_json((workdir / "job.json").read_text())
    scripts = json.loads((workdir.parent / "script.json").read_text())
    for verb, argument in scripts[min(order.attempt, len(scripts)) - 1]:
        code = VERBS[verb](workdir, argument)
        if code is not None:
            return int(code)
    return Exit.DONE


def say(workdir: Path, type_: str, **data: Any) -> None:
    with (workdir / "events.jsonl").open("a") as file:
        file.write(json.dumps({"type": type_, "data": data}) + "\n")


def phase(workdir: Path, name: str) -> None:
    say(workdir, "phase", phase=name)


def steps(workdir: Path, count: int) -> int | None:
    """So many steps of 20 ms, on from the checkpoint where there is one; SIGTERM ends it with a checkpoint."""
    first = _last_checkpoint(workdir)
    for step in range(first + 1, first + count + 1):
        say(workdir, "progress", step=step, percent=step / 10)
        if asked:
            checkpoint(workdir, step)
            (workdir / "out" / "student.pth").write_text("half a student")
            (workdir / "out" / "report.json").write_text(json.dumps({"partial": True, "step": step}))
            return Exit.STOPPED
        time.sleep(0.02)
    return None


def checkpoint(workdir: Path, step: int) -> None:
    temporary = workdir / "checkpoints" / ".tmp"
    temporary.write_text(str(step))
    temporary.replace(workdir / "checkpoints" / f"{step:08d}.pt")


def student(workdir: Path, text: str) -> None:
    (workdir / "out" / "student.pth").write_text(text)
    (workdir / "out" / "student.py").write_text("# code\n")
    result = {"from_step": _last_checkpoint(workdir)}
    (workdir / "out" / "report.json").write_text(json.dumps(result))


def error(workdir: Path, told: dict[str, Any]) -> int:
    (workdir / "error.json").write_text(json.dumps(told))
    return Exit.FAILED


def kill(_workdir: Path, number: int) -> None:
    os.kill(os.getpid(), number)


def sleep(_workdir: Path, seconds: float) -> None:
    time.sleep(seconds)


def deaf(_workdir: Path, _: None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def leave_a_helper(workdir: Path, name: str) -> None:
    """A process that goes on in the child's group."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    (workdir.parent / name).write_text(str(pid))


def tell(workdir: Path, name: str) -> None:
    """What a child can see of its world."""
    seen = {"pid": os.getpid(), "env": dict(os.environ), "group": os.getpgid(0), "torch": "torch" in sys.modules}
    (workdir.parent / name).write_text(json.dumps(seen))


def code(_workdir: Path, number: int) -> int:
    return number


def _last_checkpoint(workdir: Path) -> int:
    names = sorted(path.stem for path in (workdir / "checkpoints").glob("*.pt"))
    return int(names[-1]) if names else 0


def _ask(_signal: int, _frame: object) -> None:
    global asked  # noqa: PLW0603 - a signal is the process's own
    asked = True


VERBS: dict[str, Any] = {
    each.__name__: each
    for each in (phase, steps, checkpoint, student, error, kill, sleep, deaf, leave_a_helper, tell, code)
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ask)
    print("a line of the log", flush=True)
    sys.exit(main(Path(sys.argv[1])))
