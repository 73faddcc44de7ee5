"""A child out of a spare is what a fresh one would be, ends as one, and nothing depends on the spare."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker import confine, jail, warm
from worker.child import CODE, Child, Running, engine_command
from worker.warm import Spare, Spares

PROBE = "tests.worker.spared.probe"
PROBE_FILE = Path(__file__).with_name("probe.py")
ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CODE), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def spare() -> Iterator[None]:
    spares = Spares({PROBE: Spare("json", ENV)}, "the tests")
    spares.start()
    yield
    spares.stop()


def env(folder: Path) -> dict[str, str]:
    return ENV | {"HOME": str(folder), "TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": "7"}


def forked(folder: Path, *arguments: str, plan: jail.Jail | None = None) -> warm.Forked:
    """A child of the spare, which has some time to come up."""
    found = wait_for(lambda: start(folder, *arguments, plan=plan))
    assert isinstance(found, warm.Forked)
    return found


def start(folder: Path, *arguments: str, plan: jail.Jail | None = None) -> warm.Forked | None:
    with (folder / "log.txt").open("ab") as log:
        return warm.fork(PROBE, arguments, cwd=folder, env=env(folder), log=log.fileno(), jail=plan)


def fresh(folder: Path, *arguments: str) -> Child:
    with (folder / "log.txt").open("ab") as log:
        command = [*engine_command(PROBE, folder)[:-1], *arguments]
        return Child([*command[:6], "-P", *command[6:]], cwd=folder, env=env(folder), log=log.fileno())


def confined_fresh(folder: Path, plan: jail.Jail, *arguments: str) -> Child:
    with (folder / "log.txt").open("ab") as log:
        command = jail.command(plan, [sys.executable, "-P", "-m", PROBE, *arguments])
        return Child(command, cwd=folder, env=env(folder), log=log.fileno(), pass_fds=[plan.warnings_fd])


def ended(child: Running) -> int:
    code: int = wait_for(child.poll).exit_code
    return code


def wait_for(what: Callable[[], Any], patience_s: float = 20.0) -> Any:
    until = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def test_a_fork_is_what_a_fresh_process_would_be(spare: None, tmp_path: Path) -> None:
    for name, begin in (("forked", forked), ("fresh", fresh)):
        assert ended(begin(tmp_path, "tell", str(tmp_path / name))) == 3
    told = {name: json.loads((tmp_path / name).read_text()) for name in ("forked", "fresh")}
    for each in told.values():
        del each["arguments"]
        # Python adds it to a process of its own where the C library has no locale.
        each["env"].pop("LC_CTYPE", None)
    assert told["forked"] == told["fresh"]
    assert told["forked"]["env"] == env(tmp_path)
    assert (tmp_path / "log.txt").read_text() == "this is tell\n" * 2


def test_a_confined_fork_is_confined_as_a_fresh_process(spare: None, tmp_path: Path) -> None:
    is_open = all(confine.closed_to_others(Path(path)) is None for path in (sys.executable, sys.prefix, PROBE_FILE))
    uid = 60_999 if os.geteuid() == 0 and is_open else None
    folder = tmp_path / "work"
    folder.mkdir()
    if uid is not None:
        os.chown(folder, uid, uid)
    told, refused = {}, {}
    for name in ("forked", "fresh"):
        reader, writer = os.pipe()
        plan = jail.Jail(os.getpid(), writer, uid, 2**33, 60, 2**20, 5_000, 64)
        child: Running = (
            forked(folder, "tell", name, plan=plan) if name == "forked" else confined_fresh(folder, plan, "tell", name)
        )
        os.close(writer)
        assert ended(child) == 3, (folder / "log.txt").read_text()
        told[name] = json.loads((folder / name).read_text())
        with os.fdopen(reader) as said:
            refused[name] = said.read()
    assert refused["forked"] == refused["fresh"]
    spaces = {name: told[name].pop("spaces") for name in told}
    for each in told.values():
        del each["arguments"]
        each["env"].pop("LC_CTYPE", None)
    assert told["forked"] == told["fresh"]
    ours = {name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in spaces["fresh"]}
    changed = {child: {name for name in ours if spaces[child][name] != ours[name]} for child in spaces}
    assert changed["forked"] == changed["fresh"]
    assert told["forked"]["status"]["NoNewPrivs"] == "1"
    assert told["forked"]["status"]["Threads"] == "1"


def test_ends_and_signals_are_those_of_a_child(spare: None, tmp_path: Path) -> None:
    assert ended(forked(tmp_path, "die")) == -signal.SIGSEGV
    child = forked(tmp_path, "stop", str(tmp_path / "up"))
    wait_for((tmp_path / "up").exists)
    assert child.poll() is None
    child.ask_to_stop()
    assert ended(child) == 4
    assert child.kill().exit_code == 4
    assert child.kill().peak_bytes > 2**20


def test_each_is_called_what_it_is(spare: None, tmp_path: Path) -> None:
    child = forked(tmp_path, "stop", str(tmp_path / "up"))
    server = int(wait_for(lambda: (tmp_path / "up").exists() and (tmp_path / "up").read_text()))
    names = [Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0") for pid in (child.pid, server)]
    child.kill()
    assert names[0] == [sys.executable, "-m", PROBE, "stop", str(tmp_path / "up")]
    assert names[1] == [sys.executable, "-m", "worker.forker", PROBE, "the tests"]


def test_a_kill_takes_the_whole_group(spare: None, tmp_path: Path) -> None:
    child = forked(tmp_path, "hang", str(tmp_path / "helper"))
    helper = int(wait_for(lambda: (tmp_path / "helper").exists() and (tmp_path / "helper").read_text()))
    assert child.kill().exit_code == -signal.SIGKILL
    wait_for(lambda: not is_running(helper))


def test_who_forgets_a_child_ends_it(spare: None, tmp_path: Path) -> None:
    """As when a supervisor is killed: the kernel closes its end of the pair."""
    child = forked(tmp_path, "stop", str(tmp_path / "up"))
    wait_for((tmp_path / "up").exists)
    pid = child.pid
    del child
    wait_for(lambda: not is_running(pid))


def test_a_spare_that_dies_takes_its_child_along_and_is_replaced(spare: None, tmp_path: Path) -> None:
    child = forked(tmp_path, "stop", str(tmp_path / "up"))
    server = int(wait_for(lambda: (tmp_path / "up").exists() and (tmp_path / "up").read_text()))
    os.kill(server, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    wait_for(lambda: not is_running(child.pid))
    assert ended(forked(tmp_path, "tell", str(tmp_path / "again"))) == 3


def test_without_a_fitting_spare_there_is_no_fork(spare: None, tmp_path: Path) -> None:
    forked(tmp_path, "tell", str(tmp_path / "up")).kill()
    with (tmp_path / "log.txt").open("ab") as log:
        other = env(tmp_path) | {"OMP_NUM_THREADS": "2"}
        assert warm.fork(PROBE, ["tell", "x"], cwd=tmp_path, env=other, log=log.fileno()) is None
        assert warm.fork("worker.once", ["x"], cwd=tmp_path, env=env(tmp_path), log=log.fileno()) is None


def test_a_spare_ends_with_who_keeps_it(tmp_path: Path) -> None:
    """Also where that was killed: nothing is left behind."""
    code = (
        "import os, sys, time; from pathlib import Path; from worker.warm import Spare, Spares, _slots;"
        f"s = Spares({{'{PROBE}': Spare('json', {ENV!r})}}, 'a test'); s.start();"
        "time.sleep(0.5); print(s._servers.popitem()[1].pid, flush=True); time.sleep(1000)"
    )
    keeper = subprocess.Popen([sys.executable, "-c", code], cwd=CODE, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    server = int(keeper.stdout.readline())
    assert is_running(server)
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()
    wait_for(lambda: not is_running(server))


@pytest.mark.parametrize("preloaded", ["worker.engine.preload", "worker.intake.preload"])
def test_what_is_preloaded_computes_nothing(preloaded: str) -> None:
    """No thread but those of libraries that put them away before a fork, no CUDA, no network's file."""
    code = (
        f"import {preloaded}, sys, os, torch; pid = os.fork();"
        "threads = len(os.listdir('/proc/self/task')); pid or os._exit(threads);"
        "print(os.waitstatus_to_exitcode(os.wait()[1]), torch.cuda.is_initialized(), 'timm' in sys.modules)"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "2", "ORT_DISABLE_TELEMETRY": "1"}
    said = subprocess.run([sys.executable, "-c", code], cwd=CODE, env=env, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False", "False"]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
