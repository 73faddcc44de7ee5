"""One attempt, start to end, around a real child process: what the database says when it is over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from core import db, jobs
from core.settings import settings
from core.storage import storage
from models.status import JobStatus
from models.tables import Artifact
from tests.worker.rows import SCRIPTED, Submit, attempt, claim, events, job
from worker.supervise import supervise

STUDENT = [["phase", "training"], ["steps", 5], ["student", "weights"]]


def run(job_id: str) -> None:
    supervise(claim(job_id), SCRIPTED)


def work() -> Path:
    return settings().data_dir.resolve() / "work"


def artifacts(job_id: str) -> dict[str, bytes]:
    with db.session() as session:
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all()
    return {row.name: b"".join(storage().read(row.storage_key)) for row in rows}


@contextmanager
def meanwhile(job_id: str, type_: str, do: Callable[[], object]) -> Iterator[None]:
    """In the block, `do()` as soon as the job has an event of that type."""

    def wait() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and not events(job_id, type_):
            time.sleep(0.02)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def wish(request: Callable[..., object], job_id: str) -> Callable[[], None]:
    def do() -> None:
        with db.session() as session:
            request(session, job_id)

    return do


def test_a_job_succeeds_with_its_files_events_and_log(submit: Submit) -> None:
    job_id = submit(STUDENT)
    run(job_id)
    ended = job(job_id)
    assert (ended.status, ended.result) == (JobStatus.SUCCEEDED, {"from_step": 0})
    assert set(artifacts(job_id)) == {"student.pth", "student.py", "report.json"}
    assert artifacts(job_id)["student.pth"] == b"weights"
    phases = [data["phase"] for _, data in events(job_id, "phase")]
    assert phases == ["staging", "training", "publishing"]
    assert events(job_id, "progress")[-1][1]["step"] == 5
    assert ended.progress["step"] == 5
    assert attempt(job_id, 1).log == "a line of the log\n"
    assert list(work().iterdir()) == [work() / "script.json"], "the work folder is gone"


def test_the_child_sees_a_device_and_no_secret(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    run(submit([["tell", "seen.json"], *STUDENT]))
    seen = json.loads((work() / "seen.json").read_text())
    assert seen["group"] == seen["pid"], "it leads a group of its own"
    assert seen["env"]["CUDA_VISIBLE_DEVICES"] == ""
    assert not [name for name in seen["env"] if name.startswith(("DISTILLERY", "AWS"))]


def test_a_failure_that_the_engine_names_is_kept_word_for_word(submit: Submit) -> None:
    told = {
        "class": "user_input",
        "code": "weak_teacher",
        "detail": "The teacher guesses.",
        "errors": [{"pointer": "/teacher", "message": "weak"}],
        "accuracy": 0.1,
    }
    job_id = submit([["error", told]])
    run(job_id)
    ended = job(job_id)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert {key: ended.error[key] for key in told} == told


def test_a_crash_is_ours_and_shows_the_log(submit: Submit) -> None:
    job_id = submit([["phase", "training"], ["steps", 1], ["kill", signal.SIGSEGV]])
    run(job_id)
    ended = job(job_id)
    assert ended.error is not None
    assert (ended.status, ended.error["class"], ended.error["code"]) == (JobStatus.FAILED, "internal", "crashed")
    assert "SIGSEGV in phase training at step 1" in ended.error["detail"]
    assert ended.error["log"] == ["a line of the log"]


def test_a_killed_child_is_tried_again_from_its_checkpoint(submit: Submit) -> None:
    die = [["phase", "training"], ["steps", 3], ["checkpoint", 3], ["sleep", 0.3], ["kill", signal.SIGKILL]]
    job_id = submit(die, [["student", "resumed"]])
    run(job_id)
    waiting = job(job_id)
    assert waiting.status is JobStatus.QUEUED
    assert waiting.checkpoint is not None
    assert (waiting.checkpoint["step"], waiting.checkpoint["percent"]) == (3, 0.3)
    assert events(job_id, "requeued")[0][1]["error"]["code"] == "killed"
    run(job_id)
    assert (job(job_id).status, job(job_id).result) == (JobStatus.SUCCEEDED, {"from_step": 3})
    assert not list(storage().list(f"jobs/{job_id}/checkpoints")), "nobody needs them any more"


def test_the_same_death_twice_is_not_tried_a_third_time(submit: Submit) -> None:
    die = [["phase", "training"], ["steps", 2], ["kill", signal.SIGKILL]]
    job_id = submit(die, max_attempts=5)
    run(job_id)
    run(job_id)
    ended = job(job_id)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "crashes_repeatedly")
    assert ended.attempt == 2


def test_deaths_at_different_steps_are_all_tried_again(submit: Submit) -> None:
    first, second = ([["phase", "training"], ["steps", n], ["kill", signal.SIGKILL]] for n in (1, 4))
    job_id = submit(first, second, STUDENT)
    for _ in range(3):
        run(job_id)
    assert job(job_id).status is JobStatus.SUCCEEDED


def test_an_unusable_checkpoint_costs_time_and_no_job(submit: Submit) -> None:
    die = [["steps", 3], ["checkpoint", 3], ["sleep", 0.3], ["kill", signal.SIGKILL]]
    job_id = submit(die, [["student", "anew"]])
    run(job_id)
    kept = job(job_id).checkpoint
    assert kept is not None
    storage().delete(kept["key"])
    run(job_id)
    assert job(job_id).result == {"from_step": 0}
    assert [data["code"] for _, data in events(job_id, "notice")] == ["checkpoint_unusable"]


def test_a_child_that_makes_no_step_is_ended(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_STALL_S", "1")
    settings.cache_clear()
    job_id = submit([["deaf", None], ["steps", 1], ["sleep", 60]])
    run(job_id)
    assert events(job_id, "requeued")[0][1]["error"]["code"] == "stalled"


def test_cancel_keeps_the_student_so_far(submit: Submit) -> None:
    job_id = submit([["steps", 3000]])
    with meanwhile(job_id, "progress", wish(jobs.request_cancel, job_id)):
        run(job_id)
    ended = job(job_id)
    assert ended.status is JobStatus.CANCELLED
    assert ended.result is not None
    assert ended.result["partial"] is True
    assert artifacts(job_id)["student.pth"] == b"half a student"


def test_cancel_does_not_wait_for_a_deaf_child(submit: Submit) -> None:
    asked_at: list[float] = []

    def cancel() -> None:
        asked_at.append(time.monotonic())
        wish(jobs.request_cancel, job_id)()

    job_id = submit([["deaf", None], ["steps", 1], ["sleep", 60]])
    with meanwhile(job_id, "progress", cancel):
        run(job_id)
    assert time.monotonic() - asked_at[0] < 5
    assert job(job_id).status is JobStatus.CANCELLED
    assert artifacts(job_id) == {}


def test_pause_keeps_a_checkpoint_and_resume_goes_on_from_it(submit: Submit) -> None:
    job_id = submit([["steps", 3000]], [["student", "whole"]])
    with meanwhile(job_id, "progress", wish(jobs.request_pause, job_id)):
        run(job_id)
    paused = job(job_id)
    assert paused.status is JobStatus.PAUSED
    assert paused.checkpoint is not None
    wish(jobs.request_resume, job_id)()
    run(job_id)
    ended = job(job_id)
    assert ended.result == {"from_step": paused.checkpoint["step"]}
    assert (ended.attempt, ended.attempts_forgiven) == (2, 1)


def test_whoever_loses_the_lease_ends_the_child_and_writes_nothing(submit: Submit) -> None:
    job_id = submit([["tell", "seen.json"], ["steps", 3000]])

    def steal() -> None:
        with db.session() as session:
            session.execute(text("UPDATE jobs SET lease_token = 'another'"))

    with meanwhile(job_id, "progress", steal):
        run(job_id)
    assert job(job_id).status is JobStatus.RUNNING
    assert attempt(job_id, 1).outcome is None
    pid = json.loads((work() / "seen.json").read_text())["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_helpers_of_the_child_end_with_it(submit: Submit) -> None:
    run(submit([["leave_a_helper", "helper"], *STUDENT]))
    pid = int((work() / "helper").read_text())
    until = time.monotonic() + 5
    while _is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _is_alive(pid)


def test_cut_connections_lose_and_double_no_event(submit: Submit, database: str) -> None:
    job_id = submit([["phase", "training"], ["steps", 60], ["student", "weights"]])
    end = threading.Event()

    def cut() -> None:
        with psycopg.connect(
            make_url(database).set(drivername="postgresql").render_as_string(), autocommit=True
        ) as own:
            while not end.wait(0.1):
                _cut_all(own)

    cutter = threading.Thread(target=cut)
    taken = claim(job_id)
    cutter.start()
    try:
        supervise(taken, SCRIPTED)
    finally:
        end.set()
        cutter.join()
    assert job(job_id).status is JobStatus.SUCCEEDED
    steps = [data["step"] for _, data in events(job_id, "progress")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    assert [data["phase"] for _, data in events(job_id, "phase")] == ["staging", "training", "publishing"]


def _cut_all(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@contextmanager
def database_away(database: str) -> Iterator[None]:
    """In the block nobody can connect to it, and nobody is connected."""
    url = make_url(database).set(drivername="postgresql")
    name = url.database
    with psycopg.connect(url.set(database="postgres").render_as_string(), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_training_goes_on_while_the_database_is_away(submit: Submit, database: str) -> None:
    job_id = submit([["phase", "training"], ["steps", 100], ["student", "weights"]])
    taken = claim(job_id)
    thread = threading.Thread(target=supervise, args=(taken, SCRIPTED))
    thread.start()
    _wait_for(lambda: events(job_id, "progress"))
    with database_away(database):
        time.sleep(3)
    thread.join(30)
    assert (job(job_id).status, job(job_id).attempt) == (JobStatus.SUCCEEDED, 1)
    assert events(job_id, "progress")[-1][1]["step"] == 100
    assert [data["phase"] for _, data in events(job_id, "phase")] == ["staging", "training", "publishing"]


def test_a_worker_that_leaves_does_not_wait_for_a_database_that_is_away(submit: Submit, database: str) -> None:
    job_id = submit([["steps", 3000]])
    supervisor = _supervisor(job_id)
    _wait_for(lambda: events(job_id, "progress"))
    with database_away(database):
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(20)
    assert job(job_id).status is JobStatus.RUNNING, "its lease ends by itself"


CHILD = """
import sys
from core.jobs import Claim
from tests.worker.rows import SCRIPTED
from worker import drain
from worker.supervise import supervise
with drain.on_sigterm():
    supervise(Claim(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])), SCRIPTED)
"""


def _supervisor(job_id: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own."""
    taken = claim(job_id)
    told = [str(part) for part in (taken.job_id, taken.attempt, taken.token, taken.lease_s)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *told], cwd=Path(__file__).parents[2])


def _wait_for(condition: Callable[[], Any], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def test_sigterm_gives_the_job_back_with_a_checkpoint(submit: Submit) -> None:
    job_id = submit([["steps", 3000]])
    supervisor = _supervisor(job_id)
    _wait_for(lambda: events(job_id, "progress"))
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(10)
    drained = job(job_id)
    assert (drained.status, drained.attempts_forgiven) == (JobStatus.QUEUED, 1)
    assert attempt(job_id, 1).outcome == "drained"
    assert drained.checkpoint is not None


def test_no_child_outlives_a_killed_supervisor(submit: Submit) -> None:
    job_id = submit([["tell", "seen.json"], ["deaf", None], ["steps", 3000]])
    supervisor = _supervisor(job_id)
    _wait_for(lambda: events(job_id, "progress"))
    pid = json.loads((work() / "seen.json").read_text())["pid"]
    assert _is_alive(pid)
    supervisor.kill()
    supervisor.wait()
    _wait_for(lambda: not _is_alive(pid), 5)


def _is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stopped_supervisor_that_outlived_its_lease_changes_nothing(submit: Submit) -> None:
    job_id = submit([["tell", "seen.json"], ["steps", 3000]])
    supervisor = _supervisor(job_id)
    _wait_for(lambda: events(job_id, "progress"))
    pid = json.loads((work() / "seen.json").read_text())["pid"]
    supervisor.send_signal(signal.SIGSTOP)
    with db.session() as session:
        session.execute(text("UPDATE jobs SET lease_expires_at = now() - interval '1 second'"))
    # The servers of the tests have just started, and a sweep spares leases for two heartbeats after that.
    _wait_for(_swept, 10)
    second = claim(job_id)
    before = events(job_id)
    supervisor.send_signal(signal.SIGCONT)
    supervisor.wait(10)
    assert not _is_alive(pid)
    assert events(job_id) == before
    assert (job(job_id).attempt, job(job_id).lease_token) == (2, second.token)
    assert attempt(job_id, 1).outcome == "lost"


def _swept() -> bool:
    with db.session() as session:
        return bool(jobs.sweep(session).moved)


def test_a_store_that_is_away_for_a_while_costs_no_second_training(submit: Submit) -> None:
    job_id = submit(STUDENT)
    files = settings().data_dir / "files"
    hidden = files.with_name("hidden")

    def take_away() -> None:
        files.rename(hidden)
        _wait_for(lambda: job(job_id).phase == "publishing")
        time.sleep(1)
        hidden.rename(files)

    with meanwhile(job_id, "progress", take_away):
        run(job_id)
    assert (job(job_id).status, job(job_id).attempt) == (JobStatus.SUCCEEDED, 1)
    assert artifacts(job_id)["student.pth"] == b"weights"
