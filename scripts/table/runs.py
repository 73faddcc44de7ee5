"""The jobs of a table: posted a few ahead of the workers, found again by their labels when a run goes on later."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts import fashion
from scripts.client import Client
from scripts.table.budget import Budget
from scripts.table.entries import Entry

Json = dict[str, Any]

_LOOK_S = 1.0


@dataclass(frozen=True)
class Wanted:
    """A loss with a seed."""

    entry: Entry
    seed: int
    control: bool

    def body(self, inputs: dict[str, str], budget: Budget) -> Json:
        """The job's spec, with the labels that it is found by. `body` is a digest of all the rest."""
        body: Json = {
            **inputs,
            "student": fashion.STUDENT,
            "loss": {"type": self.entry.loss, "weight": self.entry.weight},
            "hard": self.entry.hard,
            "train": budget.train(self.seed, control=self.control),
        }
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
        labels = {"table": budget.fingerprint, "loss": self.entry.loss, "seed": str(self.seed), "body": digest}
        return {**body, "name": f"{self.entry.loss}, seed {self.seed}", "labels": labels}


def wanted(entries: Sequence[Entry], seeds: Sequence[int]) -> list[Wanted]:
    """Seed by seed, so that a table that is cut short has all losses; the first loss of each carries the control."""
    return [Wanted(entry, seed, control=at == 0) for seed in seeds for at, entry in enumerate(entries)]


def refused(client: Client, entries: Iterable[Entry], inputs: dict[str, str], budget: Budget) -> dict[str, str]:
    """The losses that POST /jobs/validate would not take for this pair, and what it says."""
    said = {}
    for entry in entries:
        answer = client.post("/jobs/validate", Wanted(entry, 0, control=False).body(inputs, budget))
        if not answer["valid"]:
            said[entry.loss] = answer["problems"][0]["message"]
    return said


class Runs:
    """Takes the wanted jobs to their ends."""

    def __init__(
        self, client: Client, budget: Budget, inputs: dict[str, str], at_once: int, say: Callable[[str], None]
    ) -> None:
        self._client, self._budget, self._inputs = client, budget, inputs
        self._at_once, self._say = at_once, say
        self._num_all = self._num_done = self._num_here = 0
        self._started = 0.0

    def run(self, jobs: Sequence[Wanted], meanwhile: Callable[[], object]) -> dict[Wanted, Json]:
        """Every job once it has ended. `meanwhile` is called about once a second."""
        ended, under_way, waiting = self._sorted(jobs)
        self._num_all, self._num_done, self._started = len(jobs), len(ended), time.monotonic()
        if ended:
            self._say(f"{len(ended)} of {len(jobs)} jobs were finished by an earlier run")
        while under_way or waiting:
            while waiting and len(under_way) < self._at_once + 1:
                each = waiting.pop(0)
                under_way[each] = self._client.post("/jobs", each.body(self._inputs, self._budget))["id"]
            meanwhile()
            time.sleep(_LOOK_S)
            for each, job_id in list(under_way.items()):
                job = self._client.get(f"/jobs/{job_id}")
                if job["is_terminal"]:
                    ended[each] = job
                    del under_way[each]
                    self._tell(each, job)
        return ended

    def _sorted(self, jobs: Sequence[Wanted]) -> tuple[dict[Wanted, Json], dict[Wanted, str], list[Wanted]]:
        """What has succeeded before, what waits or runs since an earlier run, and what is to be posted."""
        ended, under_way, waiting = {}, {}, []
        earlier = self._earlier()
        for each in jobs:
            labels = each.body(self._inputs, self._budget)["labels"]
            job = earlier.get(json.dumps(labels, sort_keys=True))
            if job is not None and job["status"] == "succeeded":
                ended[each] = job
            elif job is not None and not job["is_terminal"]:
                under_way[each] = job["id"]
            else:
                waiting.append(each)
        return ended, under_way, waiting

    def _earlier(self) -> dict[str, Json]:
        """The newest job of this table by its labels."""
        found: dict[str, Json] = {}
        cursor = ""
        while True:
            page = self._client.get(f"/jobs?label=table:{self._budget.fingerprint}&limit=200{cursor}")
            for job in page["items"]:
                found.setdefault(json.dumps(job["labels"], sort_keys=True), job)
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def _tell(self, each: Wanted, job: Json) -> None:
        self._num_done += 1
        self._num_here += 1
        left = self._num_all - self._num_done
        eta_s = (time.monotonic() - self._started) / self._num_here * left
        outcome = job["status"]
        if job["status"] == "succeeded":
            outcome = f"{job['result']['test']['student']['accuracy']:.2%}"
        elif job["error"]:
            outcome += f": {job['error']['detail']}"
        self._say(
            f"{self._num_done:4d}/{self._num_all}  {each.entry.loss:<24} seed {each.seed}  {outcome}"
            + (f"  about {eta_s / 60:.0f} min left" if left else "")
        )
