"""One trial: a job or two, a random moment in a random phase, one fault, and the wait for what becomes of them."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from models.status import Phase
from scripts.chaos.bench import Bench
from scripts.chaos.follower import Follower
from scripts.chaos.processes import wait_until
from scripts.chaos.work import JOBS

#: How long each phase of these jobs takes, about; a fault comes at a random moment of it.
_SPANS = {
    Phase.STAGING: 2.0,
    Phase.CHECKING: 0.1,
    Phase.CACHING: 0.1,
    Phase.TRAINING: 2.0,
    Phase.EVALUATING: 0.05,
    Phase.EXPORTING: 0.1,
    Phase.PUBLISHING: 0.1,
}
#: Most of a real job's time is training, so a third of the faults come there.
_PHASES = [*Phase, Phase.TRAINING, Phase.TRAINING]
_MOMENT_S = 60.0
_END_S = 90.0


class Trial:
    """What a fault may use: `begin`, `wait`, the bench, and the dice."""

    def __init__(self, bench: Bench, seed: int, number: int, outage_s: float | None = None) -> None:
        self.bench = bench
        #: How long a part is away; None: the dice decide.
        self.outage_s = outage_s
        self.number = number
        self.dice = random.Random(f"{seed}/{number}")  # noqa: S311 - dice, no secret
        self.label = f"{seed}-{number}-{uuid.uuid4().hex[:6]}"
        self.phase = self.dice.choice(_PHASES)
        self.followers: list[Follower] = []
        #: By job: which of work.JOBS it is, and the states that it may end in.
        self.kinds: dict[str, str] = {}
        self.expected: dict[str, set[str]] = {}
        self.violations: list[tuple[str, str]] = []
        #: True where the fault came before the job had ended.
        self.landed = False
        self.struck_at = 0.0
        #: When the fault was over: killed, or the part is back.
        self.over_at = 0.0
        self.zombie_writes = 0
        #: From the answer to a cancel until its processes were gone.
        self.cancelled_in_s: float | None = None

    @property
    def job(self) -> str:
        """The job that the fault is aimed at."""
        return self.followers[0].job_id

    def violated(self, kind: str, what: str) -> None:
        """Note that something does not hold."""
        self.violations.append((kind, what))

    # --- steps of a fault ---

    def begin(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Post the trial's jobs, each twice with one Idempotency-Key; `meanwhile` happens while the first is posted."""
        for number in range(1 + (self.dice.random() < 0.15)):
            name = self.dice.choice(list(JOBS))
            body = self.bench.body(name, f"{self.label}-{number}")
            headers = {"Idempotency-Key": f"{self.label}-{number}"}
            ids = self._posted(body, headers, meanwhile if number == 0 else None)
            if len(ids) != 1:
                self.violated("key", f"one Idempotency-Key made {len(ids)} jobs: {ids}")
            self.follow(ids.pop(), name)

    def follow(self, job_id: str, name: str) -> None:
        """Watch a job that must succeed, unless the trial says otherwise."""
        self.followers.append(Follower(self.bench.stack.url, job_id))
        self.kinds[job_id] = name
        self.expected[job_id] = {"succeeded"}

    def wait(self) -> None:
        """Until a random moment of the trial's phase, or the end of the job."""
        reached = wait_until(lambda: self.followers[0].is_done or self._has_reached(), _MOMENT_S, 0.003)
        if not reached:
            self.violated("lost", f"the job does not reach {self.phase}")
        time.sleep(self.dice.uniform(0, _SPANS[self.phase]))
        self.strike()

    def strike(self) -> None:
        """The fault comes now."""
        self.landed = self.followers[0].last("succeeded") is None
        self.struck_at = time.time()

    def away(self, shortest: float = 1.0, longest: float = 5.0) -> None:
        """Let a part be away, at times for longer than a lease."""
        chosen = self.dice.uniform(shortest, longest)
        time.sleep(chosen if self.outage_s is None else self.outage_s)

    def supervisor(self) -> int | None:
        """The process that supervises the job, by what it said when it started."""
        started = self.followers[0].last("started")
        return int(started["data"]["worker"].split(":")[1]) if started else None

    # --- the end ---

    def settle(self) -> None:
        """Until all jobs have ended; whatever died is started again, as an operator's tools would."""
        until = time.monotonic() + _END_S
        while not all(follower.is_done for follower in self.followers):
            self.bench.hosts.revive()
            if time.monotonic() > until:
                break
            time.sleep(0.05)
        for follower in self.followers:
            follower.stop()

    def _posted(self, body: dict[str, object], headers: dict[str, str], meanwhile: object) -> set[str]:
        """The ids that two POSTs with one key were told."""
        ids: list[str] = []

        def post() -> None:
            ids.append(self.bench.ask("POST", "/jobs", body, **headers).json()["id"])

        first = threading.Thread(target=post)
        first.start()
        if callable(meanwhile):
            meanwhile()
        if self.dice.random() < 0.5:
            _join(first, self.bench)
        post()
        _join(first, self.bench)
        return set(ids)

    def _has_reached(self) -> bool:
        """Whether the newest attempt's files show the phase."""
        return any(_shows(folder, self.phase) for folder in self.workdirs())

    def workdirs(self) -> Sequence[Path]:
        """The folders of the job's attempts, wherever they run."""
        return [path for root in self.bench.hosts.folders for path in (root / "work").glob(f"{self.job}-*")]


def _shows(workdir: Path, phase: Phase) -> bool:
    if phase is Phase.STAGING:
        return True
    if phase is Phase.PUBLISHING:
        return (workdir / "out" / "manifest.json").exists()
    try:
        return f'"phase": "{phase.value}"' in (workdir / "events.jsonl").read_text()
    except OSError:
        return False


def _join(thread: threading.Thread, bench: Bench) -> None:
    while thread.is_alive():
        bench.hosts.revive()
        thread.join(0.05)
