"""`python -m scripts.chaos --trials 300 --seed 1`: real processes, real jobs, one fault a trial, and what must hold.

It prints a line a trial and a table at the end, and exits with 1 where anything was violated. `--only FAULT` and
`--first N` repeat a trial: its dice depend on the seed and its number alone.
"""

import argparse
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path
from shutil import rmtree

from scripts.chaos import invariants
from scripts.chaos.bench import Bench
from scripts.chaos.faults import FAULTS, NEED_DISKS
from scripts.chaos.processes import running, wait_until
from scripts.chaos.table import Outcome, Run
from scripts.chaos.trial import Trial

#: So many ended jobs are looked at again after each trial; all of them at the end.
_LOOK_BACK = 6


def main() -> int:
    """The door."""
    told = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    run = Run(shlex.join(["python", "-m", "scripts.chaos", *sys.argv[1:]]), told.seed)
    print(f"Starting in {folder} ...", flush=True)
    with Bench(folder) as bench:
        _play(bench, told, run)
    left = [] if wait_until(lambda: not running(str(folder)), 10) else running(str(folder))
    print(f"\n{run.text()}")
    if left:
        print(f"VIOLATION: processes of ours are left: {left}")
    if told.write is not None:
        run.write(told.write)
    if not left and not run.num_violations:
        rmtree(folder, ignore_errors=True)
        return 0
    print(f"The logs are in {folder}")
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=len(FAULTS), help="so many trials; faults take turns")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the dice")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--only", choices=sorted(FAULTS), action="append", help="this fault alone; may be repeated")
    parser.add_argument("--minutes", type=float, default=90.0, help="no trial starts after so long")
    parser.add_argument("--outage", type=float, metavar="S", help="a part that is away stays so for so many seconds")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its marks")
    return parser.parse_args()


def _play(bench: Bench, told: argparse.Namespace, run: Run) -> None:
    names = [name for name in FAULTS if told.only is None or name in told.only]
    if bench.disks.why_not is not None:
        run.skipped = {name: bench.disks.why_not for name in names if name in NEED_DISKS}
    names = [name for name in names if name not in run.skipped]
    print(f"seed {told.seed}; the service runs at {bench.stack.url}", flush=True)
    until = time.monotonic() + 60 * told.minutes
    ended: dict[str, str] = {}
    for number in range(told.first, told.first + told.trials):
        if time.monotonic() > until:
            print(f"{told.minutes:.0f} minutes are over")
            break
        fault = names[number % len(names)]
        _one(bench, run, Trial(bench, told.seed, number, told.outage), fault, ended)
    for job_id in _changed(bench, ended, list(ended)):
        print(f"VIOLATION changed: I3: {job_id} changed after its end")
        run.outcomes[-1].violations.append(("changed", job_id))


def _one(bench: Bench, run: Run, trial: Trial, fault: str, ended: dict[str, str]) -> None:
    start = time.monotonic()
    try:
        trial.over_at = FAULTS[fault](trial)
        trial.settle()
        invariants.check(trial, fault)
        ended |= {follower.job_id: invariants.fingerprint(bench, follower.job_id) for follower in trial.followers}
        for job_id in _changed(bench, ended, list(ended)[-_LOOK_BACK:]):
            trial.violated("changed", f"I3: {job_id} changed after its end")
    except Exception:
        # A trial that breaks off is a violation as well: its reason is printed, and the next one goes on.
        trial.violated("broken", traceback.format_exc())
    outcome = Outcome(
        number=trial.number,
        fault=fault,
        phase=trial.phase.value,
        landed=trial.landed,
        jobs=len(trial.followers),
        recovery_s=invariants.recovery(trial, fault),
        lost_work_s=invariants.lost_work(trial, fault),
        cancelled_in_s=trial.cancelled_in_s,
        zombie_writes=trial.zombie_writes,
        seconds=time.monotonic() - start,
        violations=trial.violations,
    )
    run.outcomes.append(outcome)
    _tell(outcome, run.seed)


def _changed(bench: Bench, ended: dict[str, str], ids: list[str]) -> list[str]:
    return [job_id for job_id in ids if invariants.fingerprint(bench, job_id) != ended[job_id]]


def _tell(outcome: Outcome, seed: int) -> None:
    recovery = "-" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
    when = outcome.phase if outcome.landed else f"{outcome.phase} (too late)"
    verdict = "VIOLATION" if outcome.violations else "ok"
    print(
        f"{outcome.number:4d}  {outcome.fault:20s} {when:22s} recovery {recovery:>7s}  {outcome.seconds:5.1f} s  "
        f"{verdict}",
        flush=True,
    )
    for kind, what in outcome.violations:
        print(f"      {kind}: {what}")
    if outcome.violations:
        again = f"--seed {seed} --first {outcome.number} --trials 1 --only {outcome.fault}"
        print(f"      again: python -m scripts.chaos {again}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
