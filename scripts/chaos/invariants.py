"""I1 to I10 of docs/reliability.md, asked of the service and its rows after each trial."""

import hashlib
import json
from datetime import datetime
from typing import Any

import httpx

from core import db, jobs
from core.jobs import Claim, LeaseLost
from scripts.chaos.bench import LEASE_S, SWEEP_S, Bench
from scripts.chaos.faults import KILLS
from scripts.chaos.follower import Follower
from scripts.chaos.processes import running, wait_until
from scripts.chaos.trial import Trial

Json = dict[str, Any]

#: What an attempt says while it gets on.
_LIFE = {"started", "phase", "progress", "metrics", "checkpoint", "succeeded", "failed", "cancelled", "paused"}
#: After one of these a job may stand further back than it did, and the event says why.
_SETBACKS = {"started", "requeued", "queued", "paused", "notice"}
_PROCESSES_S = 6.0
#: The issue's allowance for a recovery beyond lease and sweep.
_ALLOWED_S = 10.0


def check(trial: Trial, fault: str) -> None:
    """Everything that must hold now that the trial's jobs should have ended."""
    for follower in trial.followers:
        _end(trial, follower)
        _events(trial, follower)
        _percent(trial, follower)
        _one_attempt(trial, follower.job_id)
        _zombies(trial, follower.job_id)
        _processes(trial, follower.job_id)
    for answer in trial.bench.faults:
        trial.violated("api", answer)
    trial.bench.faults.clear()
    over = recovery(trial, fault)
    if fault in KILLS and over is not None and over > LEASE_S + SWEEP_S + _ALLOWED_S:
        trial.violated("recovery", f"I5: the job ran again only after {over:.1f} s")


def recovery(trial: Trial, fault: str) -> float | None:
    """I5: seconds from the fault, or from the part's return, until the job got on; None where there was no need."""
    if not trial.landed:
        return None
    awaited = {"started", "succeeded"} if fault in KILLS else _LIFE
    times = [_moment(event) for event in trial.followers[0].events if event["type"] in awaited]
    return next((at - trial.over_at for at in times if at >= trial.over_at), None)


def lost_work(trial: Trial, fault: str) -> float | None:
    """I6: seconds of training between the last checkpoint that was kept and a kill; None where none was lost."""
    if fault not in KILLS or not trial.landed:
        return None
    before = [event for event in trial.followers[0].events if _moment(event) <= trial.over_at]
    if not before or before[-1]["type"] not in {"progress", "metrics", "checkpoint"}:
        return None
    kept = [_moment(event) for event in before if event["type"] in {"checkpoint", "phase"}]
    return trial.over_at - kept[-1] if kept else None


def fingerprint(bench: Bench, job_id: str) -> str:
    """I3: everything that is stored of a job, and whether its files are there; it never changes once it has ended."""
    row = bench.rows(
        "SELECT row_to_json(j)::text,"
        " (SELECT json_agg(a ORDER BY name)::text FROM artifacts a WHERE job_id = j.id),"
        " (SELECT json_agg(a ORDER BY number)::text FROM attempts a WHERE job_id = j.id),"
        " (SELECT count(*) FROM events WHERE job_id = j.id)"
        " FROM jobs j WHERE id = %s",
        job_id,
    )
    keys = bench.rows("SELECT storage_key FROM artifacts WHERE job_id = %s", job_id)
    gone = [key for (key,) in keys if not (bench.store / key).is_file()]
    return hashlib.sha256(json.dumps([row, gone]).encode()).hexdigest()


def _end(trial: Trial, follower: Follower) -> None:
    """I1, I7: it ended, and well, and the student is that of the run which nothing disturbed."""
    job = trial.bench.ask("GET", f"/jobs/{follower.job_id}").json()
    if not follower.is_done or not job["is_terminal"]:
        trial.violated("lost", f"I1: {job['id']} is {job['status']}, phase {job['phase']}, attempt {job['attempt']}")
        return
    if job["status"] not in trial.expected[job["id"]]:
        trial.violated("lost", f"I1: {job['id']} is {job['status']}: {json.dumps(job['error'])}")
    if job["status"] == "succeeded":
        _same_student(trial, job["id"])


def _same_student(trial: Trial, job_id: str) -> None:
    expected = trial.bench.reference[trial.kinds[job_id]]
    answer = trial.bench.ask("GET", f"/jobs/{job_id}/student.pth")
    found = hashlib.sha256(answer.content).hexdigest() if answer.status_code == httpx.codes.OK else answer.text
    if found != expected:
        trial.violated("differs", f"I7: the student of {job_id} is {found}, not {expected}")


def _events(trial: Trial, follower: Follower) -> None:
    """I8: what a client saw over all its connections is what is stored, numbered 1..n."""
    for fault in follower.faults:
        trial.violated("events", f"I8: {follower.job_id}: {fault}")
    stored = trial.bench.rows("SELECT seq, type, attempt FROM events WHERE job_id = %s ORDER BY seq", follower.job_id)
    if [seq for seq, _, _ in stored] != list(range(1, len(stored) + 1)):
        trial.violated("events", f"I8: the events of {follower.job_id} are not numbered 1..n")
    seen = [(event["seq"], event["type"], event["attempt"]) for event in follower.events]
    if follower.is_done and seen != [tuple(row) for row in stored]:
        trial.violated("events", f"I8: a client of {follower.job_id} saw {len(seen)} events of {len(stored)}")


def _percent(trial: Trial, follower: Follower) -> None:
    """Progress never goes back without an event that says why."""
    reached = 0.0
    for event in follower.events:
        if event["type"] in _SETBACKS:
            reached = 0.0
        if event["type"] == "progress":
            if event["data"]["percent"] < reached:
                trial.violated("events", f"{follower.job_id}: percent fell at event {event['seq']} without a reason")
            reached = event["data"]["percent"]


def _one_attempt(trial: Trial, job_id: str) -> None:
    """I2: at most one attempt's artifacts are visible, those of the attempt that ended the job."""
    made = trial.bench.rows("SELECT DISTINCT attempt FROM artifacts WHERE job_id = %s", job_id)
    attempts = trial.bench.rows("SELECT number, outcome FROM attempts WHERE job_id = %s ORDER BY number", job_id)
    good = [number for number, outcome in attempts if outcome == "succeeded"]
    ended = trial.bench.rows("SELECT count(*) FROM events WHERE job_id = %s AND type = 'succeeded'", job_id)[0][0]
    if len(made) > 1 or len(good) > 1 or ended > 1:
        trial.violated("doubled", f"I2: {job_id} has artifacts of {made}, successes {good}, {ended} of them told")
    if good and made != [(good[0],)]:
        trial.violated("doubled", f"I2: {job_id} shows artifacts of {made}, attempt {good[0]} succeeded")


def _zombies(trial: Trial, job_id: str) -> None:
    """I4: whoever held an attempt that is over writes nothing: what the newest attempt began, no older one continues.

    The attempts' own tokens are used once more, as a worker would that wakes up now.
    """
    rows = trial.bench.rows("SELECT attempt, type FROM events WHERE job_id = %s ORDER BY seq", job_id)
    numbers = [attempt for attempt, _ in rows]
    if numbers != sorted(numbers):
        trial.violated("zombie", f"I4: an older attempt of {job_id} wrote after a newer one")
    tokens = trial.bench.rows(
        "SELECT number, lease_token FROM attempts WHERE job_id = %s AND outcome IS NOT NULL", job_id
    )
    for number, token in tokens:
        trial.zombie_writes += 1
        if not _is_refused(Claim(job_id, number, token, 60.0)):
            trial.violated("zombie", f"I4: attempt {number} of {job_id} is over and could write")


def _is_refused(claim: Claim) -> bool:
    try:
        with db.session() as session:
            jobs.record(session, claim, [("notice", {"code": "zombie", "message": "I am not dead"})])
    except LeaseLost:
        pass
    else:
        return False
    try:
        with db.session() as session:
            jobs.succeed(session, claim, result={}, artifacts=[], log="")
    except LeaseLost:
        return True
    return False


def _processes(trial: Trial, job_id: str) -> None:
    """No process of a job outlives it."""
    if not wait_until(lambda: not running(f"{job_id}-"), _PROCESSES_S):
        trial.violated("process", f"processes of {job_id} live on: {running(f'{job_id}-')}")


def _moment(event: Json) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()
