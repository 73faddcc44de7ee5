"""The arithmetic and the words of the table of losses, and what its jobs are told apart by."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from models.spec.job import JobSpec
from models.spec.losses.menu import ENTRIES, tag
from scripts.table import page
from scripts.table.__main__ import found_in
from scripts.table.budget import FULL, SMALL
from scripts.table.entries import Entry, entries, families
from scripts.table.figures import Figures, Row, gain, ordered, spread, verdict
from scripts.table.runs import Wanted, wanted

INPUTS = {"teacher": "tch_1", "dataset": "dst_1"}
SETTING = page.Setting("2020-02-02", "make table", {"torch": "9.9", "engine": "7"}, "2 cores of something", 2)
ALONE = [0.80, 0.82, 0.84]  # deviation 0.02


def row(loss: str, *accuracies: float, family: str = "response", fault: str | None = None) -> Row:
    return Row(loss, family, 1.0, 0.1, [Figures(value, 0.9, 12.0) for value in accuracies], fault)


def test_a_spread_is_the_sample_deviation() -> None:
    assert spread(ALONE) == pytest.approx(0.02)
    assert spread([0.5]) is None
    assert gain([0.9, 0.8], ALONE) == pytest.approx(0.03)


def test_below_no_teacher_is_said_even_of_one_seed_and_within_the_spread() -> None:
    assert verdict([0.81, 0.82, 0.8299], ALONE) == "worse than no teacher"
    assert verdict([0.79], [0.80]) == "worse than no teacher"


def test_a_gain_must_be_above_the_deviation_of_a_difference() -> None:
    # Deviations 0.02 and 0.02: a difference of two runs deviates by 0.0283.
    assert verdict([value + 0.028 for value in ALONE], ALONE) == "no gain shown"
    assert verdict([value + 0.029 for value in ALONE], ALONE) == "better"
    # 0.02 and none: by 0.02.
    assert verdict([0.841, 0.841, 0.841], ALONE) == "better"
    assert verdict(ALONE, ALONE) == "no gain shown"


def test_one_seed_shows_no_gain() -> None:
    assert verdict([0.99], ALONE) == verdict([0.99, 0.99], [0.1]) == "no gain shown"


def test_rows_are_by_family_then_from_the_best_down_with_failures_last() -> None:
    rows = [
        row("a", 0.7, family="relation"),
        row("b", 0.7),
        row("c", 0.9),
        row("d", fault="it broke"),
        row("e", 0.99, fault="1 of 2 broke"),
    ]
    assert [each.loss for each in ordered(rows, ["response", "relation"])] == ["c", "b", "e", "d", "a"]


def test_the_page_says_what_was_found() -> None:
    found = page.Found(
        teacher_accuracy=0.9,
        alone=[Figures(value, None, 10.0) for value in ALONE],
        rows=[row("good", 0.9, 0.9, 0.9), row("bad", 0.7, 0.7, 0.7), row("broken", 0.9, fault="1 of 3 jobs: why")],
        left_out={"other": "it is for tables"},
    )
    said = page.text(found, FULL, SETTING)
    assert "| *teacher* |  |  |  | 90.00 |" in said
    assert "| *`hard` alone* |  |  | 1 | 82.00 ± 2.00 |  |  | 10 |  |" in said
    assert "| `good` | response | 1 | 0.1 | 90.00 ± 0.00 | +8.00 | 90.0 | 12 | better |" in said
    assert "| `bad` | response | 1 | 0.1 | 70.00 ± 0.00 | -12.00 | 90.0 | 12 | worse than no teacher |" in said
    assert "| `broken` | response | 1 | 0.1 |  |  |  |  | failed |" in said
    assert "- `broken`: 1 of 3 jobs: why" in said
    assert "- `other`: it is for tables" in said
    assert "1 of 2 losses are below it on average" in said
    assert "2020-02-02, `make table`, torch 9.9, engine 7, on 2 cores of something; 2 jobs at once" in said
    assert f"first {FULL.rows:,} training images" in said
    assert len({line.count("|") for line in said.splitlines() if line.startswith("|")}) == 1


def test_without_the_control_nothing_is_called_better_or_worse() -> None:
    said = page.text(page.Found(None, [], [row("a", 0.9)], {}), FULL, SETTING)
    assert "nothing to compare with" in said
    assert "hard` alone*" not in said


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    page.write(target, "new")
    target.write_text(f"# Above\n\n{target.read_text()}\nbelow\n")
    page.write(target, "newer\n\n| a |")
    page.write(target, "newest")
    assert target.read_text() == "# Above\n\n<!-- table: begin -->\nnewest\n<!-- table: end -->\n\nbelow\n"


def test_every_loss_of_the_menu_is_tried_or_left_out_with_a_reason() -> None:
    taken, left_out = entries()
    assert sorted([entry.loss for entry in taken] + list(left_out)) == sorted(tag(model) for model in ENTRIES)
    assert left_out["value_mse"] == "it is for tabular_regression"
    assert left_out["minilm"] == "it has no defaults for `taps`"
    assert {entry.loss: (entry.weight, entry.hard) for entry in taken}["kd"] == (0.9, 0.1)
    assert {entry.family for entry in taken} == set(families())


def test_a_look_takes_some_of_each_family() -> None:
    assert [entry.family for entry in entries(per_family=1)[0]] == families()


def test_one_job_of_each_seed_carries_the_control() -> None:
    taken, _ = entries(per_family=1)
    jobs = wanted(taken, (0, 1, 2))
    assert [job.seed for job in jobs if job.control] == [0, 1, 2]
    assert [job.seed for job in jobs[: len(taken)]] == [0] * len(taken)


def test_a_job_is_a_spec_with_the_defaults_of_its_loss() -> None:
    for entry in entries()[0]:
        body = Wanted(entry, 2, control=False).body(INPUTS, FULL)
        spec = JobSpec.model_validate(body)
        assert spec.loss == JobSpec.model_validate({**body, "loss": {"type": entry.loss}}).loss, entry.loss
        assert spec.hard == JobSpec.model_validate({**body, "hard": None}).resolved().hard, entry.loss
        assert (spec.train.seed, spec.train.epochs, spec.train.control) == (2, FULL.epochs, False)


def test_labels_tell_apart_whatever_gives_another_result() -> None:
    entry = Entry("kd", "response", 0.9, 0.1)
    bodies = [
        Wanted(entry, 0, control=False).body(INPUTS, FULL),
        Wanted(entry, 1, control=False).body(INPUTS, FULL),
        Wanted(entry, 0, control=True).body(INPUTS, FULL),
        Wanted(dataclasses.replace(entry, weight=0.8), 0, control=False).body(INPUTS, FULL),
        Wanted(entry, 0, control=False).body(INPUTS, dataclasses.replace(FULL, teacher_epochs=7)),
        Wanted(entry, 0, control=False).body(INPUTS, SMALL),
    ]
    labels = [tuple(sorted(body["labels"].items())) for body in bodies]
    assert len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[0-9a-f]{12}", body["labels"]["table"]) for body in bodies)


def test_more_seeds_keep_what_there_is() -> None:
    assert dataclasses.replace(FULL, seeds=(0, 1, 2, 3), per_family=2).fingerprint == FULL.fingerprint


def succeeded(accuracy: float, alone: float | None = None) -> dict[str, Any]:
    control = None if alone is None else {"accuracy": alone}
    test = {"teacher": {"accuracy": 0.9}, "student": {"accuracy": accuracy}, "control": control, "agreement": 0.8}
    runs = {name: {"train_s": 3.0} for name in ("student", "control")}
    return {"status": "succeeded", "error": None, "result": {"test": test, "runs": runs}}


def failed(class_: str, pointer: str, detail: str) -> dict[str, Any]:
    errors = [{"pointer": pointer, "message": detail}] if pointer else []
    return {"status": "failed", "result": None, "error": {"class": class_, "detail": detail, "errors": errors}}


def test_jobs_become_rows_failures_and_what_is_left_out() -> None:
    good, cut, unfit, broken = (Entry(name, "response", 1.0, 0.1) for name in ("good", "cut", "unfit", "broken"))
    ended = {
        Wanted(good, 0, control=True): succeeded(0.7, alone=0.5),
        Wanted(good, 1, control=True): succeeded(0.8, alone=0.6),
        Wanted(cut, 0, control=False): succeeded(0.9),
        Wanted(cut, 1, control=False): {"status": "cancelled", "result": None, "error": None},
        Wanted(unfit, 0, control=False): failed("user_config", "/loss/0/taps/0", "it takes sequences"),
        Wanted(unfit, 1, control=False): failed("user_config", "/loss/0/taps/0", "it takes sequences"),
        Wanted(broken, 0, control=False): failed("user_config", "", "not this loss"),
        Wanted(broken, 1, control=False): succeeded(0.1),
    }
    found = found_in([good, cut, unfit, broken], ended, {"table": "it is for tables"})
    assert found.left_out == {"table": "it is for tables", "unfit": "it takes sequences"}
    assert found.faults == {
        "cut": "1 of 2 jobs did not succeed: the job is cancelled",
        "broken": "1 of 2 jobs did not succeed: not this loss",
    }
    assert [run.accuracy for run in found.alone] == [0.5, 0.6]
    assert {row.loss: row.accuracies for row in found.rows}["good"] == [0.7, 0.8]
    assert found.teacher_accuracy == 0.9
