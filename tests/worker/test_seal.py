"""What a sealed process can still do: each call is really tried, from inside."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker import syscalls
from worker.syscalls import PLATFORMS

ROOT = Path(__file__).resolve().parents[2]
MACHINE = PLATFORMS.get(os.uname().machine)

_TRY = """
import ctypes, errno, json, os, sys
from pathlib import Path
from worker.seal import seal

libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    found = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    return "done" if found >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(work):
    try:
        work()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
warnings = seal(Path.cwd())
"""


def _sealed(folder: Path, script: str, *arguments: object) -> Any:
    """What the script leaves in `answer`, with the warnings of the seal beside it. It is run in a sealed process."""
    code = _TRY + script + "\nprint(json.dumps([warnings, answer]))"
    scratch = folder / "scratch"
    scratch.mkdir()
    env = {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(name="filtered")
def _filtered() -> syscalls.Platform:
    if MACHINE is None:
        pytest.skip("there is no filter for this processor")
    return MACHINE


def test_no_refused_call_comes_through(tmp_path: Path, filtered: syscalls.Platform) -> None:
    """With arguments that mean nothing, a call that the filter lets pass fails otherwise, or works."""
    refused = syscalls.refused(filtered)
    # execve with nothing to execute, ptrace of nobody, a socket of no family ...: harmless if they were let through.
    warnings, answer = _sealed(
        tmp_path,
        "answer = {name: call(n, -1, 0, 0, 0, 0, 0) for name, n in json.loads(sys.argv[1]).items()}",
        json.dumps(refused),
    )
    if any(line.startswith("system_calls") for line in warnings):
        pytest.skip(f"this platform says: {warnings}")
    assert len(answer) > 80
    assert {name for name, found in answer.items() if found != "EPERM"} == set()


def test_what_attackers_do_is_refused(tmp_path: Path, filtered: syscalls.Platform) -> None:
    warnings, answer = _sealed(
        tmp_path,
        """
import socket, subprocess
answer = {
    "tcp": attempt(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/run/docker.sock")),
    "program": attempt(lambda: subprocess.run(["/bin/true"])),
    "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
    "fork": attempt(os.fork),
    "the parent": attempt(lambda: os.kill(os.getppid(), 0)),
    "everybody": attempt(lambda: os.kill(-1, 0)),
    "limits of others": attempt(lambda: __import__("resource").prlimit(os.getppid(), 7)),
    "itself": attempt(lambda: os.kill(os.getpid(), 0)),
}
""",
    )
    if any(line.startswith("system_calls") for line in warnings):
        pytest.skip(f"this platform says: {warnings}")
    assert answer.pop("itself") == "done"
    assert set(answer.values()) == {"EPERM"}, answer


def test_threads_come_and_new_namespaces_do_not(tmp_path: Path, filtered: syscalls.Platform) -> None:
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    warnings, answer = _sealed(
        tmp_path,
        """
import threading
answer = [call(int(sys.argv[1]), flags | 17, 0, 0, 0, 0) for flags in (0x10000000, 0x40000000, 0x20000, 0)]
answer.append(call(435, 0, 0))
ran = []
thread = threading.Thread(target=ran.append, args=[1])
thread.start()
thread.join()
answer += ran
""",
        clone,
    )
    if any(line.startswith("system_calls") for line in warnings):
        pytest.skip(f"this platform says: {warnings}")
    assert answer == ["EPERM"] * 4 + ["ENOSYS", 1]


def test_only_what_is_needed_can_be_opened(tmp_path: Path) -> None:
    work, secret = tmp_path / "work", tmp_path / "secret"
    work.mkdir()
    secret.write_text("secret")
    (work / "upload").write_bytes(b"x")
    (work / "link").symlink_to(secret)
    warnings, answer = _sealed(
        work,
        """
code = Path(sys.argv[2])
answer = {
    "secret": attempt(lambda: open(sys.argv[1])),
    "through a link": attempt(lambda: open("link")),
    "its folder": attempt(lambda: os.listdir("..")),
    "to write beside": attempt(lambda: open("../canary", "w")),
    "to write to the code": attempt(lambda: open(code / "worker" / "canary.py", "w")),
    "another's environment": attempt(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "upload": attempt(lambda: open("upload")),
    "out": attempt(lambda: (os.mkdir("out"), open("out/result.json", "w"), os.unlink("out/result.json"))),
    "scratch": attempt(lambda: open("scratch/file", "w")),
    "nothing": attempt(lambda: open("/dev/null", "w")),
    "code": attempt(lambda: open(code / "worker" / "seal.py")),
}
""",
        secret,
        ROOT,
    )
    if any(line.startswith("files") for line in warnings):
        pytest.skip(f"this platform says: {warnings}")
    allowed = {answer.pop(name) for name in ("upload", "out", "scratch", "nothing", "code")}
    assert allowed == {"done"}
    assert set(answer.values()) == {"EACCES"}, answer


def test_a_call_by_the_numbers_of_another_processor_ends_the_process(tmp_path: Path) -> None:
    """x86_64 kernels may know 32-bit calls and those of x32: the numbers mean others there."""
    if os.uname().machine != "x86_64":
        pytest.skip("this is about x86_64")
    warnings, answer = _sealed(tmp_path, "answer = call(0x40000000 + 41, 2, 1, 0)")
    if any(line.startswith("system_calls") for line in warnings):
        pytest.skip(f"this platform says: {warnings}")
    assert answer == "EPERM"


@pytest.mark.parametrize(("name", "audit_arch"), [(name, p.audit_arch) for name, p in PLATFORMS.items()])
def test_the_numbers_are_the_kernels(name: str, audit_arch: int) -> None:
    """As libseccomp has them, for both processors."""
    try:
        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    for call, number in syscalls.refused(PLATFORMS[name]).items():
        assert resolve(audit_arch, call.encode()) == number, call
    assert resolve(audit_arch, b"seccomp") == PLATFORMS[name].seccomp
    assert resolve(audit_arch, b"clone3") == 435
