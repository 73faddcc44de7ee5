"""What teachers said, kept on the disk for other jobs: the student is the same bit for bit, whatever is there."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, Taught, run
from tests.worker.engine.test_resume import StopAt, same
from worker.engine.stop import Stop, Stopped

PLAIN = {"epochs": 2, "augment": "none", "control": False}
#: Rows of the three splits; each is asked about once.
ROWS = 120 + 40 + 40

Ordered = Callable[..., WorkOrder]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def ordered(small: Make, shelf: Path) -> Ordered:
    """A job with a cache; `train` and what the order says otherwise may be given."""

    def made(name: str, *, order: dict[str, Any] | None = None, **fields: Any) -> WorkOrder:
        train = {**PLAIN, **fields.pop("train", {})}
        return small(
            name, order={"cache_dir": str(shelf), "cache_bytes": 2**30, **(order or {})}, train=train, **fields
        )

    return made


def figures(folder: Path, order: WorkOrder, stop: Stop | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    trained = run(order, folder, stop)
    return trained.weights, trained.report["teacher_cache"]


def test_the_second_job_asks_nothing_and_its_student_is_the_same(ordered: Ordered, tmp_path: Path) -> None:
    off, nothing = figures(tmp_path / "off", ordered("off", train={"teacher_cache": "off"}))
    first, asked = figures(tmp_path / "first", ordered("first"))
    again, reused = figures(tmp_path / "again", ordered("again"))
    assert same(off, first)
    assert same(off, again)
    assert (nothing["computed_rows"], nothing["reused_rows"], nothing["bytes"]) == (ROWS, 0, 0)
    assert (asked["computed_rows"], asked["reused_rows"], asked["hit_ratio"]) == (ROWS, 0, 0)
    assert (reused["computed_rows"], reused["reused_rows"], reused["hit_ratio"]) == (0, ROWS, 1)
    assert reused["bytes"] > 0
    assert reused["saved_s"] > 0


def test_a_job_says_while_it_runs_how_much_was_there(ordered: Ordered, tmp_path: Path) -> None:
    figures(tmp_path / "first", ordered("first"))
    figures(tmp_path / "again", ordered("again"))
    figures(tmp_path / "views", ordered("views", train={**VIEWED, "teacher_cache": {"views": 2}}))
    about = "what the teacher says of the training rows"
    for name, said in (
        ("first", [f"{about}: 0 were there from before, and it was asked about 120"]),
        ("again", [f"{about}: 120 were there from before, and it was asked about 0"]),
        (
            "views",
            [f"{about} in view {n} of 2: 0 were there from before, and it was asked about 120" for n in (1, 2)],
        ),
    ):
        notices = orders.events(tmp_path / name, "notice")
        assert [one["message"] for one in notices if one["code"] == "teacher_cache"] == said
    lines = (tmp_path / "again" / "events.jsonl").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if "teacher_cache" in line)
    assert not any('"metrics"' in line for line in lines[:at]), "before the first epoch is over"


@pytest.mark.parametrize("loss", [{"type": "hint"}, {"type": "rkd"}, [{"type": "kd"}, {"type": "similarity"}]])
def test_features_and_embeddings_come_back_as_they_were(ordered: Ordered, tmp_path: Path, loss: Any) -> None:
    off, _ = figures(tmp_path / "off", ordered("off", loss=loss, train={"teacher_cache": "off"}))
    ordered_again = [figures(tmp_path / name, ordered(name, loss=loss)) for name in ("first", "again")]
    assert all(same(off, weights) for weights, _ in ordered_again)
    assert ordered_again[1][1]["computed_rows"] == 0


def test_what_decides_the_values_decides_the_table(ordered: Ordered, tmp_path: Path) -> None:
    figures(tmp_path / "first", ordered("first"))
    for name, changes, computed in (
        ("temperature", {"loss": {"type": "kd", "T": 9}}, 0),
        ("seed", {"train": {"seed": 7}}, 0),
        ("owner", {"order": {"owner": "someone-else"}}, ROWS),
        ("batch", {"train": {"batch_size": 41}}, ROWS),
        ("precision", {"train": {"precision": "bf16"}}, 120),
        ("taps", {"loss": {"type": "hint"}}, ROWS),
    ):
        _, cache = figures(tmp_path / name, ordered(name, **changes))
        assert cache["computed_rows"] == computed, name
        assert cache["computed_rows"] + cache["reused_rows"] == ROWS


def test_members_of_an_ensemble_are_shared_with_jobs_of_one_teacher(
    tmp_path: Path, shelf: Path, few_digits: Data, small_teacher: Taught
) -> None:
    def made(name: str, teacher: Any, **train: Any) -> WorkOrder:
        fields = orders.spec(teacher=teacher, train={**PLAIN, "batch_size": 40, **train})
        taught = {"tch_1": small_teacher, "tch_2": orders.train_teacher(*few_digits, {"type": "mlp", "hidden": [16]})}
        used = taught if isinstance(teacher, dict) else {"tch_1": small_teacher}
        cache: dict[str, Any] = {"cache_dir": str(shelf), "cache_bytes": 2**30}
        return orders.make_workdir(tmp_path / name, few_digits, used, fields, **cache)

    both = {"type": "ensemble", "teachers": ["tch_1", "tch_2"], "combine": "cross_entropy"}
    off, _ = figures(tmp_path / "off", made("off", both, teacher_cache="off"))
    figures(tmp_path / "one", made("one", "tch_1"))
    weights, cache = figures(tmp_path / "both", made("both", both))
    assert same(off, weights)
    assert (cache["reused_rows"], cache["computed_rows"]) == (ROWS, ROWS)


@pytest.mark.parametrize("harm", ["byte", "cut", "empty", "moved"])
def test_a_damaged_chunk_is_found_and_made_again(ordered: Ordered, tmp_path: Path, shelf: Path, harm: str) -> None:
    first, _ = figures(tmp_path / "first", ordered("first"))
    chunks = sorted(shelf.glob("*/*.chunk"))
    assert len(chunks) == 3
    contents = [path.read_bytes() for path in chunks]
    for path, content, other in zip(chunks, contents, [*contents[1:], contents[0]], strict=True):
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"byte": changed, "cut": content[:-1], "empty": b"", "moved": other}[harm])
    again, cache = figures(tmp_path / "again", ordered("again"))
    assert same(first, again)
    assert cache["computed_rows"] == ROWS
    assert cache["reused_rows"] == 0
    third, cache = figures(tmp_path / "third", ordered("third"))
    assert same(first, third)
    assert cache["reused_rows"] == ROWS


@pytest.mark.parametrize("limits", [{"cache_bytes": 100}, {"cache_dir": "/proc/no-such-folder"}])
def test_a_job_goes_on_where_nothing_can_be_kept(ordered: Ordered, tmp_path: Path, limits: dict[str, Any]) -> None:
    off, _ = figures(tmp_path / "off", ordered("off", train={"teacher_cache": "off"}))
    for name in ("first", "again"):
        weights, cache = figures(tmp_path / name, ordered(name, order=limits))
        assert same(off, weights)
        assert cache["computed_rows"] == ROWS
        assert cache["unshared_rows"] == (ROWS if "cache_bytes" in limits else 0)
        told = [one["message"] for one in orders.events(tmp_path / name, "notice") if one["code"] == "teacher_cache"]
        assert all(message.endswith("; for 120 of these the cache had no room") for message in told)
        assert len(told) == ("cache_bytes" in limits)


def test_a_job_that_was_stopped_while_it_filled_leaves_what_it_had(ordered: Ordered, tmp_path: Path) -> None:
    # Training rows are asked about in batches of 4, in chunks of 8 batches.
    train = {"batch_size": 1, "epochs": 2}
    student = {"type": "mlp", "hidden": [8], "batch_norm": False}
    off, _ = figures(tmp_path / "off", ordered("off", student=student, train={**train, "teacher_cache": "off"}))
    for at in (13, 28, 45):
        with pytest.raises(Stopped):
            run(ordered("work", student=student, train=train), tmp_path / "work", StopAt(at))
    weights, cache = figures(tmp_path / "work", ordered("work", student=student, train=train))
    assert same(off, weights)
    assert 0 < cache["computed_rows"] < ROWS
    assert cache["reused_rows"] == ROWS - cache["computed_rows"]


def _job(folder: Path, order: WorkOrder, into: Any) -> None:
    torch.set_num_threads(1)
    weights, cache = figures(folder, order)
    into.put((cache["computed_rows"], cache["reused_rows"], {name: x.numpy() for name, x in weights.items()}))


def _started(context: Any, folder: Path, order: WorkOrder, into: Any) -> Any:
    process = context.Process(target=_job, args=(folder, order, into))
    process.start()
    return process


def test_two_processes_fill_at_once_and_one_that_is_killed_is_in_nobodys_way(
    ordered: Ordered, tmp_path: Path, shelf: Path
) -> None:
    train = {"batch_size": 1, "epochs": 1000}  # chunks of 32 rows
    student: dict[str, Any] = {"type": "mlp", "hidden": [8], "batch_norm": False}
    short: dict[str, Any] = {"student": student, "train": {**train, "epochs": 2}}
    off, _ = figures(tmp_path / "off", ordered("off", **{**short, "train": {**short["train"], "teacher_cache": "off"}}))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    killed = _started(context, tmp_path / "killed", ordered("killed", student=student, train=train), queue)
    until = time.monotonic() + 30
    while not list(shelf.glob("*/*.lock")) and time.monotonic() < until:
        time.sleep(0.002)
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    both = [_started(context, tmp_path / name, ordered(name, **short), queue) for name in ("a", "b")]
    found = [queue.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    for computed, reused, weights in found:
        assert computed + reused == ROWS
        assert same(off, {name: torch.from_numpy(x) for name, x in weights.items()})
    _, cache = figures(tmp_path / "last", ordered("last", **short))
    assert cache["reused_rows"] == ROWS


def _die(point: str, number: int) -> None:
    """From now on this process is killed when it comes for the n-th time to a point of the way of a chunk."""
    left = number
    real_open, real_replace, real_read = Path.open, Path.replace, Path.read_bytes

    def passed(here: str) -> None:
        nonlocal left
        left -= here == point
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def opened(self: Path, *args: Any, **more: Any) -> Any:
        file = real_open(self, *args, **more)
        if self.suffix == ".part":
            if left == 1 and point == "in the middle of a file":
                file.write(b"half a chunk")
                file.flush()
            passed("in the middle of a file")
        return file

    def replaced(self: Path, target: Any) -> Path:
        is_chunk = Path(target).suffix == ".chunk"
        if is_chunk:
            passed("before it has its name")
        found = real_replace(self, target)
        if is_chunk:
            passed("after it has its name")
        return found

    def read(self: Path) -> bytes:
        content = real_read(self)
        if self.suffix == ".chunk":
            passed("while it is read")
        return content

    Path.open, Path.replace, Path.read_bytes = opened, replaced, read  # type: ignore[method-assign,assignment]


def _doomed(folder: Path, order: WorkOrder, point: str, number: int) -> None:
    torch.set_num_threads(1)
    _die(point, number)
    run(order, folder)


def test_a_job_killed_anywhere_on_the_way_of_a_chunk_leaves_the_next_the_same_student(
    ordered: Ordered, tmp_path: Path
) -> None:
    train = {"batch_size": 2, "epochs": 2}  # chunks of 32 rows and more
    fields: dict[str, Any] = {"student": {"type": "mlp", "hidden": [8], "batch_norm": False}}
    off, _ = figures(tmp_path / "off", ordered("off", **fields, train={**train, "teacher_cache": "off"}))
    context = multiprocessing.get_context("fork")
    for point, number, leaves in (
        ("in the middle of a file", 1, False),
        ("in the middle of a file", 2, True),
        ("before it has its name", 1, False),
        ("before it has its name", 3, True),
        ("after it has its name", 1, True),
        ("after it has its name", 3, True),
        ("while it is read", 2, True),
    ):
        name = f"{point} {number}"
        own = {"cache_dir": str(tmp_path / name / "shelf")}
        if point == "while it is read":
            figures(tmp_path / "filling", ordered("filling", **fields, train=train, order=own))
        order = ordered(name, **fields, train=train, order=own)
        process = context.Process(target=_doomed, args=(tmp_path / name, order, point, number))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, name
        weights, cache = figures(tmp_path / name, order)
        assert same(off, weights), name
        assert cache["reused_rows"] + cache["computed_rows"] == ROWS, name
        assert bool(cache["reused_rows"]) == leaves, name


VIEWED = {"augment": {"crop": 1, "flip": True}, "epochs": 4, "control": False}


def test_views_are_asked_about_once_each_and_shared(ordered: Ordered, tmp_path: Path) -> None:
    train = {**VIEWED, "teacher_cache": {"views": 2}}
    first, cache = figures(tmp_path / "first", ordered("first", train=train))
    assert cache["computed_rows"] == ROWS + 120
    assert cache["asked_rows"] == 0
    again, cache = figures(tmp_path / "again", ordered("again", train=train))
    assert cache["computed_rows"] == 0
    assert same(first, again)
    alone, _ = figures(tmp_path / "alone", ordered("alone", train=train, order={"cache_dir": None}))
    assert same(first, alone)
    _, cache = figures(tmp_path / "more", ordered("more", train={**train, "teacher_cache": {"views": 3}}))
    assert cache["computed_rows"] == 120, "the first two are there"
    _, cache = figures(tmp_path / "seed", ordered("seed", train={**train, "seed": 1}))
    assert cache["computed_rows"] == 240, "another seed makes other views"


def test_a_job_with_views_that_is_stopped_goes_on_with_the_same_bits(ordered: Ordered, tmp_path: Path) -> None:
    train = {**VIEWED, "teacher_cache": {"views": 3}}
    whole, _ = figures(tmp_path / "whole", ordered("whole", train=train, order={"cache_dir": None}))
    for at in (3, 7, 12):
        with pytest.raises(Stopped):
            run(ordered("work", train=train), tmp_path / "work", StopAt(at))
    weights, _ = figures(tmp_path / "work", ordered("work", train=train))
    assert same(whole, weights)


def test_where_samples_do_not_change_views_are_all_one(ordered: Ordered, tmp_path: Path) -> None:
    plain, _ = figures(tmp_path / "plain", ordered("plain"))
    viewed, cache = figures(tmp_path / "viewed", ordered("viewed", train={"teacher_cache": {"views": 5}}))
    assert same(plain, viewed)
    assert cache["reused_rows"] == ROWS


def test_with_fresh_augmentation_the_teacher_is_asked_at_each_step(ordered: Ordered, tmp_path: Path) -> None:
    off, _ = figures(tmp_path / "off", ordered("off", train={**VIEWED, "teacher_cache": "off"}))
    weights, cache = figures(tmp_path / "auto", ordered("auto", train=VIEWED))
    assert same(off, weights)
    assert cache["asked_rows"] == 4 * 120
