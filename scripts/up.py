"""`make up`: the service until Ctrl-C. Its data stays in DISTILLERY_DATA_DIR, or in var/ beside this folder."""

import os
import signal
import sys
import threading
from pathlib import Path

from core.errors import Unavailable
from scripts.stack import AlreadyRunning, Stack

_DATA = Path(__file__).resolve().parents[1] / "var"
_LOOK_S = 1.0


def main() -> int:
    """Run until a signal comes."""
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    stack = Stack(os.environ.get("DISTILLERY_DATA_DIR") or _DATA)
    print("Starting ...", flush=True)
    try:
        stack.start()
    except (AlreadyRunning, Unavailable) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Distillery runs: {stack.url}/docs")
    print(f"Data and logs: {stack.data_dir}. Ctrl-C stops it.", flush=True)
    try:
        while not end.wait(_LOOK_S):
            for name in stack.revive():
                print(f"The {name} had ended and is started anew; see {stack.log(name)}", flush=True)
    finally:
        print("Stopping ...", flush=True)
        stack.stop()
    print("Stopped. The data is kept.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
