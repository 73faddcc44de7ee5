"""The control of the experiment: our own harmless traps, sprung where nothing confines them.

A canary that nothing could touch would prove nothing. Each payload is run in a plain process that unpickles what it is
given, as an unsafe loader would, and has to make its file and to call the port.
"""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.corpus.case import Trap
from scripts.corpus.programs import by_name, by_stack, programs
from scripts.corpus.run import Bench

_UNSAFE = "import pickle, sys; pickle.load(sys.stdin.buffer)"


def unsprung(made: Bench) -> str | None:
    """The first trap that leaves the canary alone; None where all of them touch it. The canary is clean afterwards."""
    canary, written = made.canary, programs(made.canary)
    traps = {
        "exec": Trap(exec, canary.code).pickled,
        "exec, protocol 5": pickle.dumps(Trap(exec, canary.code), 5),
        "os.system": by_name("os", "system", canary),
        "builtins.exec by the stack": by_stack("builtins", "exec", canary),
        **{
            name: written[name]
            for name in ("REDUCE, protocol 0", "STACK_GLOBAL by memo", "INST", "OBJ", "nested pickle")
        },
    }
    for name, trap in traps.items():
        with tempfile.TemporaryDirectory(prefix="distillery-corpus-") as folder:
            subprocess.run(
                [sys.executable, "-c", _UNSAFE], input=trap, cwd=folder, check=False, stderr=subprocess.DEVNULL
            )
            inside = (Path(folder) / canary.inside).exists()
        outside, called = canary.outside.exists(), made.was_called()
        canary.outside.unlink(missing_ok=True)
        if not inside or not outside or (canary.code.encode() in trap and not called):
            return name
    return None
