"""What a confined child is left with, seen from inside of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker import jail
from worker.confine import closed_to_others

AS_ROOT = os.geteuid() == 0


def _run(
    script: str, *, uid: int | None = None, parent: int | None = None, memory: int = 2**32
) -> tuple[int, str, str]:
    """Exit code, output, and what the platform refused."""
    reader, writer = os.pipe()
    plan = jail.Jail(parent or os.getpid(), writer, uid, memory, 60, 2**20, 5_000, 64)
    with os.fdopen(reader) as refused:
        try:
            done = subprocess.run(
                jail.command(plan, ["/bin/sh", "-c", script]),
                capture_output=True,
                text=True,
                pass_fds=[writer],
                check=False,
            )
        finally:
            os.close(writer)
        return done.returncode, done.stdout, refused.read()


def test_there_is_no_network() -> None:
    _, out, refused = _run("cat /proc/net/dev; cat /proc/net/route")
    if "network" in refused:
        pytest.skip(f"this platform says: {refused}")
    interfaces = [line.split(":")[0].strip() for line in out.splitlines() if ":" in line]
    assert interfaces == ["lo"]


def test_no_privilege_is_left_or_can_come_back() -> None:
    _, out, _ = _run("grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status")
    assert out.split() == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]


def test_limits_hold() -> None:
    code, out, _ = _run("cat /proc/self/limits")
    limits = {line[:25].strip(): line[25:].split()[:2] for line in out.splitlines()[1:]}
    assert code == 0
    assert limits["Max address space"] == [str(2**32)] * 2
    assert limits["Max file size"] == [str(2**20)] * 2
    assert limits["Max open files"] == ["64"] * 2
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max cpu time"] == ["60", "65"]
    assert limits["Max processes"] == ["5000"] * 2


def test_no_file_grows_past_its_limit(tmp_path: Path) -> None:
    code, _, _ = _run(f"exec head -c 3000000 /dev/zero > {tmp_path / 'file'}")
    assert code != 0
    assert (tmp_path / "file").stat().st_size == 2**20


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_root_becomes_an_ordinary_user(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    _, out, _ = _run(f"id -u; id -G; cat {secret} 2>&1", uid=60_600)
    assert out.splitlines()[:2] == ["60600", "60600"]
    assert "denied" in out


@pytest.mark.parametrize("uid", [None, pytest.param(60_600, marks=pytest.mark.skipif(not AS_ROOT, reason="not root"))])
def test_it_is_the_first_to_go_where_memory_runs_out(uid: int | None) -> None:
    _, out, _ = _run("cat /proc/self/oom_score_adj", uid=uid)
    assert out.strip() == "1000"


def test_a_child_of_another_parent_does_not_start() -> None:
    code, out, _ = _run("echo started", parent=1)
    assert (code, out) == (1, "")


def test_the_child_dies_with_its_parent() -> None:
    """The parent starts a sleeping child, says its id and is killed."""
    script = (
        "import os, subprocess, sys, time; from worker import jail; r, w = os.pipe();"
        "p = subprocess.Popen(jail.command(jail.Jail(os.getpid(), w, None, 2**32, 60, 2**20, 5_000, 64), "
        "['/bin/sleep', '60']), pass_fds=[w]); os.close(w); os.read(r, 1); print(p.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_closed_folder_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner" / "file").write_text("")
    for folder in (*reversed(tmp_path.parents), tmp_path):
        if not folder.stat().st_mode & 0o001:
            assert closed_to_others(closed / "inner" / "file") == folder
            return
    closed.chmod(0o700)
    assert closed_to_others(closed / "inner" / "file") == closed
    closed.chmod(0o755)
    (closed / "inner" / "file").chmod(0o644)
    assert closed_to_others(closed / "inner" / "file") is None
