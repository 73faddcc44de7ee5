"""The training loop of one run: of one network, or of several that learn from each other on the same batches.

A step does no input and output and never waits for the device. Between steps everything that makes the run lies in
`state_dict`, and a run that is loaded from it goes on exactly as the other would have.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from math import inf
from typing import Any

from worker.engine import optim, threads
from worker.engine.checkpoint import State
from worker.engine.feed import Dealt, Feed
from worker.engine.following import Following
from worker.engine.learner import Learner, Plan
from worker.engine.outputs import Outputs, detached
from worker.engine.task import Metrics


class Run:
    """Networks in training, step by step together. The first gives the run its name, and its end."""

    def __init__(
        self,
        plan: Plan,
        learners: Sequence[Learner],
        feed: Feed,
        following: Following | None = None,
        flops: float = inf,
    ) -> None:
        """`flops` are the floating point operations of the learners' forward passes over one batch."""
        self.plan, self.learners, self.feed = plan, list(learners), feed
        self._following, self._flops = following, flops
        #: Whole epochs done, steps done in the epoch after them.
        self.epoch, self.at = 0, 0

    @property
    def name(self) -> str:
        """That of the first network."""
        return self.learners[0].name

    @property
    def step(self) -> int:
        """Steps done."""
        return self.epoch * self.plan.steps_per_epoch + self.at

    @property
    def done(self) -> bool:
        """True when there is nothing left to train."""
        return self.epoch >= self.plan.train.epochs or self.learners[0].trail.stopped_early

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        spec = self.plan.train
        step = min(self.step, self.plan.steps - 1)
        return optim.rate(spec.schedule, spec.optimizer.lr, step, self.plan.steps, self.plan.steps_per_epoch)

    def train_epoch(self, between: Callable[[], None]) -> None:
        """The steps that are left of this epoch; `between` is called after each and may raise."""
        spec = self.plan.train
        batches = self.feed.split.shuffled(spec.seed, self.epoch, spec.batch_size)
        for learner in self.learners:
            learner.net.module.train()
        dealt = self.feed.deal(batches[self.at * spec.accumulate :], self.epoch)
        # What it takes to ask a teacher is not counted, and is more.
        flops = inf if self.feed.asks else self._flops
        with threads.enough_for(flops):
            for _ in range(self.at, self.plan.steps_per_epoch):
                start = time.monotonic()
                self._step(list(islice(dealt, spec.accumulate)))
                self.at += 1
                for learner in self.learners:
                    learner.trail.train_s += time.monotonic() - start
                between()

    def finish_epoch(self, vals: Sequence[Metrics]) -> list[dict[str, Any]]:
        """Take the validation figures of each network, if there are any; returns the lines for their events."""
        self.refuse_not_finite()
        lines = [
            learner.finish_epoch(self.epoch + 1, self.step, self.lr, val)
            for learner, val in zip(self.learners, vals, strict=True)
        ]
        self.epoch, self.at = self.epoch + 1, 0
        if self._following:
            self._following.after_epoch(self.epoch)
        return lines

    def figures(self) -> Metrics:
        """Of the first network: the means of the epoch so far, and the learning rate. Waits for the device."""
        self.refuse_not_finite()
        return self.learners[0].figures(self.lr)

    def refuse_not_finite(self) -> None:
        """UserConfig where a loss of this epoch was not finite. Waits for the device."""
        for learner in self.learners:
            learner.refuse_not_finite(self.epoch)

    def state_dict(self) -> State:
        """Everything that the run is made of; random generators are the caller's."""
        return {
            "epoch": self.epoch,
            "at": self.at,
            "learners": [learner.state_dict() for learner in self.learners],
            "following": self._following.state_dict() if self._following else None,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""
        self.epoch, self.at = state["epoch"], state["at"]
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        if self._following:
            self._following.load_state_dict(state["following"])

    def _step(self, group: list[Dealt]) -> None:
        """One move of each optimizer: the gradient of the mean over all samples of the group."""
        samples = sum(len(dealt.rows.ids) for dealt in group)
        for dealt in group:
            x, batch, teacher = self.feed.serve(dealt, self.epoch, self.step / self.plan.steps)
            # All speak before any of them learns.
            said = [learner.answer(x) for learner in self.learners]
            heard = [self._heard(at, said, teacher) for at in range(len(said))]
            for learner, own, others in zip(self.learners, said, heard, strict=True):
                learner.learn(own, others, batch, len(batch.ids) / samples)
        lr = self.lr
        for learner in self.learners:
            learner.move(lr)
        if self._following:
            self._following.after_step()

    def _heard(self, at: int, said: list[Outputs], teacher: Outputs | None) -> Outputs | None:
        """What the network at this place is taught by: those beside it as members, or else the teacher."""
        beside = {
            learner.name: detached(outputs)
            for place, (learner, outputs) in enumerate(zip(self.learners, said, strict=True))
            if place != at
        }
        return replace(next(iter(beside.values())), members=beside) if beside else teacher
