"""Everything around the store that can go wrong, in an order that a seed decides.

Workers take jobs on messages that may come twice, late or never; they die, freeze past their lease and wake up, lose
the answer to a write and make it again, send a write that arrives long after; users change their minds; several sweep;
the clock jumps. `World.run` plays one schedule, then lets the faults end and everybody do what is due.
"""

import random
from dataclasses import dataclass, field

from models.status import TERMINAL, Desired, JobStatus
from tests.simulator.invariants import check_end, check_step
from tests.simulator.model import LEASE, LOST, Claim, Job, Operation, Result, Store, step


@dataclass(slots=True)
class Worker:
    """What a worker remembers: its claim, the wish it last heard, a claim whose answer it has not got."""

    claim: Claim | None = None
    wish: Desired = Desired.RUN
    frozen: bool = False
    unsure: str | None = None


@dataclass
class World:
    """One schedule. `trace` holds each operation with what the model says of it."""

    seed: int
    steps: int = 18
    trace: list[tuple[Operation, Result, Store]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        draw = self._rng.random
        num_jobs = 1 + (draw() < 0.4) + (draw() < 0.2)
        jobs = (
            Job(n, 1 + int(draw() * 3), 12.25, n * 1e-9, priority=int(draw() * 3), owner="ab"[draw() < 0.5])
            for n in range(num_jobs)
        )
        self.store = Store(0.0, tuple(jobs))
        self._workers = [Worker() for _ in range(2 + (draw() < 0.3))]
        self._messages = num_jobs
        self._late: list[Operation] = []
        self._tokens = 0

    def run(self) -> Store:
        """The schedule, then peace: whatever happened, every job must come to an end."""
        for _ in range(self.steps):
            self._one()
        self._peace()
        check_end(self.store)
        return self.store

    def do(self, operation: Operation) -> Result:
        """Apply it, hold the invariants, keep the trace."""
        before = self.store
        after, result = step(before, operation)
        check_step(before, operation, after, result)
        self.store = after
        self.trace.append((operation, result, after))
        return result

    # --- one thing that happens ---

    def _one(self) -> None:
        chance = self._rng.random()
        if chance < 0.55:
            self._work(self._rng.choice(self._workers))
        elif chance < 0.70:
            self._wish()
        elif chance < 0.80:
            self.do(("sweep",))
        elif chance < 0.90:
            self._pass_time()
        elif self._late:
            self.do(self._late.pop(self._rng.randrange(len(self._late))))
        else:
            self.do(("sweep",))

    def _wish(self) -> None:
        job = self._rng.randrange(len(self.store.jobs))
        self.do((self._rng.choice(("cancel", "pause", "pause", "resume", "resume")), job))
        self._messages += 1

    def _pass_time(self) -> None:
        """Mostly a little; at times past a lease; at times the clock is set back."""
        chance = self._rng.random()
        self.do(("shift", 1.0 if chance < 0.5 else 3.0 if chance < 0.85 else -2.0))

    def _work(self, worker: Worker) -> None:
        if worker.frozen:
            worker.frozen = self._rng.random() < 0.5
        elif worker.unsure is not None:
            self._read_again(worker)
        elif worker.claim is None:
            self._take(worker)
        else:
            self._go_on(worker, worker.claim)

    def _take(self, worker: Worker) -> None:
        """On a message that may be delivered again, or on a look at the table, which needs none."""
        if self._messages and self._rng.random() < 0.7:
            self._messages -= 1
        self._tokens += 1
        token = f"t{self._tokens}"
        wanted = self._rng.randrange(len(self.store.jobs)) if self._rng.random() < 0.2 else None
        result = self.do(("claim", token, wanted))
        worker.wish = Desired.RUN
        chance = self._rng.random()
        if chance < 0.1:
            worker.unsure = token  # the answer to the COMMIT is lost
        elif chance > 0.95:
            worker.claim = None  # killed right after it
        elif isinstance(result, tuple):
            worker.claim = Claim(*result)

    def _read_again(self, worker: Worker) -> None:
        """By its token a worker finds the claim whose answer it did not get."""
        token, worker.unsure = worker.unsure, None
        for job in self.store.jobs:
            for number, attempt in enumerate(job.attempts, 1):
                if attempt.token == token and attempt.outcome is None:
                    worker.claim = Claim(job.id, number, attempt.token)

    def _go_on(self, worker: Worker, claim: Claim) -> None:
        chance = self._rng.random()
        if chance < 0.12:
            worker.claim = None  # SIGKILL
        elif chance < 0.24:
            worker.frozen = True  # SIGSTOP; what it does next may come too late
        elif chance < 0.50:
            wish = self.do(("heartbeat", claim))
            worker.claim = None if wish == LOST else claim
            worker.wish = wish if isinstance(wish, Desired) else worker.wish
        elif chance < 0.65:
            self._write(worker, ("record", claim, 1 + int(self._rng.random() * 3)), is_end=False)
        else:
            self._write(worker, self._end(worker, claim), is_end=True)

    def _end(self, worker: Worker, claim: Claim) -> Operation:
        chance = self._rng.random()
        if worker.wish is Desired.CANCEL and chance < 0.6:
            return ("stop", claim, "cancelled")
        if worker.wish is Desired.PAUSE and chance < 0.6:
            return ("stop", claim, "paused")
        if chance < 0.35:
            return ("succeed", claim)
        if chance < 0.6:
            return ("fail", claim, True)
        if chance < 0.65:
            return ("fail", claim, False)
        return ("stop", claim, "drained")

    def _write(self, worker: Worker, operation: Operation, *, is_end: bool) -> None:
        """Now; or lost on the way and late; or made, its answer lost, and made again unless its row says it is done."""
        chance = self._rng.random()
        claim: Claim = operation[1]
        if chance < 0.1:
            self._late.append(operation)
            worker.claim = None
            return
        result = self.do(operation)
        if chance < 0.2 and is_end:
            outcome = self.store.jobs[claim.job].attempts[claim.attempt - 1].outcome
            if outcome is None:
                result = self.do(operation)
        elif chance < 0.25 and is_end:
            self._late.append(operation)  # the network delivers it a second time
        if result == LOST or is_end:
            worker.claim = None

    # --- peace ---

    def _peace(self) -> None:
        """The clock goes on, a sweep runs, one worker does its work: every job ends within a bounded time."""
        for operation in self._late:
            self.do(operation)
        for _ in range(12):
            if all(job.status in TERMINAL for job in self.store.jobs):
                return
            self._settle_round()

    def _settle_round(self) -> None:
        self.do(("shift", LEASE + 2.0))
        self.do(("sweep",))
        for job in self.store.jobs:
            if job.status is JobStatus.PAUSED:
                self.do(("resume", job.id))
        self._tokens += 1
        claimed = self.do(("claim", f"t{self._tokens}", None))
        if isinstance(claimed, tuple):
            self.do(("succeed", Claim(*claimed)))
