"""`make up`: the service until Ctrl-C. Its data stays in DISTILLERY_DATA_DIR, or in var/ beside this folder."""

import os
import signal
import sys
import threading
from pathlib import Path

from core.errors import Unavailable
from scripts.stack import AlreadyRunning, Stack

_DATA = Path(__file__).resolve().parents[1] / "var"
_LOOK_S, _LONGEST_WAIT_S = 1.0, 60.0


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
    wait_s = _LOOK_S
    try:
        while not end.wait(wait_s):
            ended = stack.revive()
            for name in ended:
                print(f"The {name} had ended and is started anew; see {stack.log(name)}", flush=True)
            # What cannot start must not be started every second for ever.
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S) if ended else _LOOK_S
    finally:
        print("Stopping ...", flush=True)
        stack.stop()
    print("Stopped. The data is kept.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
