"""A child that tells what it is: `python -m tests.worker.spared.probe tell FILE | die | hang | stop FILE`."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

_STATUS = (
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "Threads",
    "SigBlk",
    "SigIgn",
)
_LIMITS = ("AS", "CPU", "FSIZE", "NPROC", "NOFILE", "CORE")


def told() -> dict[str, object]:
    """All that a child may differ in from another."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    umask = os.umask(0)
    os.umask(umask)
    return {
        "status": {name: status[name] for name in _STATUS},
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in _LIMITS},
        "spaces": {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("net", "ipc", "user", "mnt")},
        "links": len(list(Path("/sys/class/net").iterdir())) if os.geteuid() == 0 else None,
        "umask": umask,
        "cwd": str(Path.cwd()),
        "leads": (os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()),
        "env": dict(os.environ),
        "files": sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())[:-1],
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "path": sys.path,
        "name": __name__,
        "arguments": sys.argv[1:],
        "handlers": {
            each.name: str(signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)
        },
    }


def main(what: str, *where: str) -> int:
    """Do what is said."""
    print("this is", what)
    if what == "tell":
        Path(*where).write_text(json.dumps(told()))
    elif what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "hang":
        helper = subprocess.Popen(["sleep", "1000"])
        Path(*where).write_text(str(helper.pid))
        helper.wait()
    elif what == "stop":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
        Path(*where).write_text(str(os.getppid()))
        time.sleep(1000)
    return 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
