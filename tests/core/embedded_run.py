"""What tests/core/test_embedded.py starts as a process of its own: the servers of a folder, until SIGTERM.

`python embedded_run.py FOLDER [orphan]`: prints the addresses and the servers' process ids as JSON. With `orphan` the
servers are told nothing when this process ends, as if the kernel could not.
"""

import json
import signal
import sys
from pathlib import Path

from core import child
from core.embedded import Embedded


def main(folder: Path, *, orphan: bool) -> None:
    if orphan:
        child._PR_SET_PDEATHSIG = 2  # PR_GET_PDEATHSIG: a call that changes nothing
    servers = Embedded(folder)
    database_url, redis_url = servers.start()
    pids = [int((folder / name).read_text().split()[0]) for name in ("postgres/postmaster.pid", "redis/redis.pid")]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(json.dumps({"database": database_url, "redis": redis_url, "pids": pids}), flush=True)
    signal.sigwait({signal.SIGTERM})
    servers.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), orphan="orphan" in sys.argv[2:])
