"""The faults. Each posts the trial's jobs, waits for its moment, does harm, mends it, and returns when it was over.

What is killed is not mended here: `Trial.settle` starts it again, as an operator's tools would.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import httpx

from core import queue
from scripts.chaos.bench import LEASE_S, SWEEP_S
from scripts.chaos.disks import full
from scripts.chaos.processes import family, is_alive, running, wait_until
from scripts.chaos.trial import Trial

Fault = Callable[[Trial], float]

_CANCEL_S = 5.0
_DRAIN_S = 15.0


# --- processes ---


def kill_worker(trial: Trial) -> float:
    """SIGKILL of a worker's parent process."""
    trial.begin()
    trial.wait()
    pid = trial.supervisor()
    main = trial.bench.hosts.main_of(pid) if pid is not None else None
    _kill(main or trial.dice.choice(trial.bench.hosts.mains))
    return time.time()


def kill_supervisor(trial: Trial) -> float:
    """SIGKILL of the process that supervises the job; no child of it may live on."""
    trial.begin()
    trial.wait()
    pid = trial.supervisor()
    if pid is None or not is_alive(pid):
        return time.time()
    children = [*family(pid)[1:], *running(f"{trial.job}-")]
    _kill(pid)
    at = time.time()
    if not wait_until(lambda: not any(map(is_alive, children)), 5):
        trial.violated("process", f"children of a killed supervisor live on: {children}")
    return at


def kill_training(trial: Trial) -> float:
    """SIGKILL of the training process, which is also what the kernel does where memory runs out."""
    trial.begin()
    trial.wait()
    for pid in running(f"{trial.job}-"):
        _kill(pid)
    return time.time()


def freeze_supervisor(trial: Trial) -> float:
    """SIGSTOP past the lease, then SIGCONT: a zombie that believes it owns the job."""
    trial.begin()
    trial.wait()
    pid = trial.supervisor()
    if pid is None or not is_alive(pid):
        return time.time()
    frozen = [*family(pid), *running(f"{trial.job}-")] if trial.dice.random() < 0.3 else [pid]
    _send(frozen, signal.SIGSTOP)
    at = time.time()
    try:
        time.sleep(LEASE_S + SWEEP_S + trial.dice.uniform(0.5, 2.5))
    finally:
        _send(frozen, signal.SIGCONT)
    return at


def drain(trial: Trial) -> float:
    """SIGTERM to a worker, as at a deploy: it gives its job back with a checkpoint and exits in time."""
    trial.begin()
    trial.wait()
    pid = trial.supervisor()
    main = (trial.bench.hosts.main_of(pid) if pid is not None else None) or trial.bench.hosts.mains[0]
    _send([main], signal.SIGTERM)
    at = time.time()
    if not wait_until(lambda: not is_alive(main), _DRAIN_S):
        trial.violated("process", f"worker {main} has not ended {_DRAIN_S:.0f} s after SIGTERM")
    return at


# --- Redis ---


def redis_flush(trial: Trial) -> float:
    """FLUSHALL: Redis forgets every message."""
    trial.begin(meanwhile=lambda: trial.bench.redis_client().flushall() if trial.dice.random() < 0.5 else None)
    trial.wait()
    trial.bench.redis_client().flushall()
    return time.time()


def redis_restart(trial: Trial) -> float:
    """Redis ends and starts again."""
    trial.begin()
    trial.wait()
    trial.bench.redis.stop()
    trial.bench.redis.start()
    return time.time()


def redis_away(trial: Trial) -> float:
    """Redis is gone before the job is posted, and for a while after."""
    trial.bench.redis.stop()
    try:
        _is_named(trial, "redis")
        trial.begin()
        trial.strike()
        trial.away(2.0, 8.0)
    finally:
        trial.bench.redis.start()
    return trial.struck_at


def duplicates(trial: Trial) -> float:
    """The job's message comes five times more, and once again when it has long ended."""
    trial.begin()
    for _ in range(2):
        queue.wake_job(trial.job)
    trial.wait()
    for _ in range(3):
        queue.wake_job(trial.job)
    return time.time()


# --- PostgreSQL ---


def postgres_restart(trial: Trial) -> float:
    """A fast shutdown and a start: clients are cut off."""
    return _restart(trial, signal.SIGINT)


def postgres_crash(trial: Trial) -> float:
    """An immediate shutdown, which is a crash, and a start that recovers."""
    return _restart(trial, signal.SIGQUIT)


def postgres_away(trial: Trial) -> float:
    """The database is gone while training goes on."""
    trial.begin()
    trial.wait()
    trial.bench.signal_postgres(signal.SIGINT)
    try:
        _is_named(trial, "database")
        trial.away(2.0, 7.0)
    finally:
        trial.bench.postgres.start()
    return time.time()


def cut_connections(trial: Trial) -> float:
    """pg_terminate_backend of every connection, ten times a second for some seconds."""
    trial.begin()
    trial.wait()
    until = time.monotonic() + trial.dice.uniform(1.0, 4.0)
    while time.monotonic() < until:
        trial.bench.cut_all()
        time.sleep(0.1)
    return time.time()


def commit_unanswered(trial: Trial) -> float:
    """A COMMIT whose answer is lost, or that never arrives: of a POST, a claim, a batch of events, the end."""
    table = trial.dice.choice(["idempotency_keys", "attempts", "events", "artifacts"])
    order = f"{table} {trial.dice.choice(['after', 'before'])}\n"
    with trial.bench.proxied() as proxy:
        assert proxy.stdin is not None
        if table in {"idempotency_keys", "attempts"}:
            _tell(proxy.stdin, order)
            trial.begin()
            trial.strike()
        else:
            trial.begin()
            trial.wait()
            _tell(proxy.stdin, order)
        wait_until(lambda: trial.followers[0].is_done, 60, 0.05)
    trial.landed = trial.bench.has_cut
    return trial.struck_at


# --- the API ---


def kill_api_in_post(trial: Trial) -> float:
    """SIGKILL of the API while it answers a POST; the client sends it again with its key."""

    def kill() -> None:
        time.sleep(trial.dice.uniform(0, 0.04))
        _kill_api()

    trial.begin(meanwhile=kill)
    trial.strike()
    found = trial.bench.rows("SELECT id FROM jobs WHERE labels->>'trial' = %s", f"{trial.label}-0")
    if len(found) != 1:
        trial.violated("key", f"a POST that was sent again made {len(found)} jobs")
    return trial.struck_at


def kill_api_in_stream(trial: Trial) -> float:
    """SIGKILL of the API while it streams events."""
    trial.begin()
    trial.wait()
    _kill_api()
    return time.time()


# --- disks ---


def store_away(trial: Trial) -> float:
    """The store can be neither read nor written for a while."""
    trial.begin()
    trial.wait()
    store = trial.bench.store
    aside = store.with_name("aside")
    store.rename(aside)
    try:
        store.touch()
        _is_named(trial, "storage")
        trial.away()
    finally:
        store.unlink()
        aside.rename(store)
    return time.time()


def store_full(trial: Trial) -> float:
    """The store's disk is full for a while."""
    trial.begin()
    trial.wait()
    with full(trial.bench.store_disk):
        trial.away()
    return time.time()


def work_full(trial: Trial) -> float:
    """The disks of both work folders are full for a while."""
    trial.begin()
    trial.wait()
    first, second = (folder / "work" for folder in trial.bench.hosts.folders)
    with full(first), full(second):
        trial.away(0.5, 2.5)
    return time.time()


# --- users ---


def pause_and_resume(trial: Trial) -> float:
    """A pause at any moment, and a resume: at once, or when it rests."""
    trial.begin()
    trial.wait()
    bench, job = trial.bench, trial.job
    bench.ask("POST", f"/jobs/{job}/pause")
    if trial.dice.random() < 0.7:
        wait_until(lambda: bench.ask("GET", f"/jobs/{job}").json()["status"] not in {"running", "pausing"}, 20, 0.05)
    at = time.time()
    bench.ask("POST", f"/jobs/{job}/resume")
    return at


def cancel(trial: Trial) -> float:
    """A cancel at any moment: its processes are gone in seconds; then a retry, from a checkpoint where there is one."""
    trial.begin()
    trial.wait()
    job = trial.job
    late = trial.bench.ask("POST", f"/jobs/{job}/cancel").status_code == httpx.codes.CONFLICT
    at = time.time()
    trial.expected[job] = {"succeeded"} if late else {"succeeded", "cancelled"}
    if not wait_until(lambda: not running(f"{job}-"), 2 * _CANCEL_S):
        trial.violated("cancel", f"processes of {job} live on")
    trial.cancelled_in_s = time.time() - at
    if trial.cancelled_in_s > _CANCEL_S:
        trial.violated("cancel", f"its processes were gone after {trial.cancelled_in_s:.1f} s")
    wait_until(lambda: trial.followers[0].is_done, 20)
    _retry(trial)
    return at


def _retry(trial: Trial) -> None:
    job = trial.job
    for start in ("checkpoint", "start"):
        answer = trial.bench.ask("POST", f"/jobs/{job}/retry", {"from": start})
        if answer.is_success:
            trial.follow(answer.json()["id"], trial.kinds[job])
            return
    trial.violated("api", f"no retry of {job}: {answer.text}")


FAULTS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        kill_worker,
        kill_supervisor,
        kill_training,
        freeze_supervisor,
        drain,
        redis_flush,
        redis_restart,
        redis_away,
        duplicates,
        postgres_restart,
        postgres_crash,
        postgres_away,
        cut_connections,
        commit_unanswered,
        kill_api_in_post,
        kill_api_in_stream,
        store_away,
        store_full,
        work_full,
        pause_and_resume,
        cancel,
    )
}
#: They need a disk that can be filled.
NEED_DISKS = {"store_full", "work_full"}
#: After these the job must be running again within a lease, a sweep and ten seconds.
KILLS = {"kill_worker", "kill_supervisor", "kill_training", "freeze_supervisor"}


def _restart(trial: Trial, how: signal.Signals) -> float:
    trial.begin()
    trial.wait()
    trial.bench.signal_postgres(how)
    trial.bench.postgres.start()
    return time.time()


def _is_named(trial: Trial, part: str) -> None:
    """/readyz says which part is down."""
    named: list[str] = []
    for _ in range(3):
        with suppress(httpx.TransportError):
            answer = trial.bench.http.get("/readyz", timeout=30)
            named = [error["pointer"] for error in answer.json()["errors"]] if answer.is_error else []
        if part in named:
            return
    trial.violated("api", f"/readyz does not name {part} while it is down, but {named}")


def _kill_api() -> None:
    for pid in running("api.main"):
        if pid in family(os.getpid()):
            _kill(pid)


def _kill(pid: int) -> None:
    _send([pid], signal.SIGKILL)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _tell(stream: IO[str], order: str) -> None:
    stream.write(order)
    stream.flush()
