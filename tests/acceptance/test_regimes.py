"""Every regime as a real job: what it hands out fits and scores what is reported, and the report says who taught."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scripts.client import Client
from tests.acceptance import teachers
from tests.acceptance.processes import seen
from tests.acceptance.regimes import NAMES, PEER, STAGES, STUDENT, jobs
from tests.acceptance.teachers import MORE, Rows, Taught

#: All jobs run in one fixture, which the first test waits for.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

Json = dict[str, Any]

OUT = {"student.pth", "student.py", "report.json", "manifest.json"}


@dataclass(frozen=True)
class Run:
    """A job that has ended, its events, and a folder for its files."""

    job: Json
    events: list[Json]
    folder: Path

    @property
    def report(self) -> Json:
        """Its result."""
        found: Json = self.job["result"]
        return found

    def notices(self) -> list[str]:
        """The codes of what it noticed."""
        return [data["code"] for data in seen(self.events, "notice")]


@pytest.fixture(scope="module")
def runs(client: Client, ids: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All jobs, submitted at once."""
    posted = {name: client.post("/jobs", {"name": name, **body})["id"] for name, body in jobs(ids).items()}
    found = {}
    for name, job_id in posted.items():
        events = list(client.events(job_id))
        found[name] = Run(client.get(f"/jobs/{job_id}"), events, tmp_path_factory.mktemp("files"))
    return found


with_labels = pytest.mark.parametrize("name", [name for name in NAMES if name != "no labels"])


@pytest.mark.parametrize("name", NAMES)
def test_it_succeeds_and_hands_out_its_students(runs: dict[str, Run], name: str) -> None:
    job = runs[name].job
    assert (job["status"], job["error"]) == ("succeeded", None)
    stages = {f"{stage}.pth" for stage in STAGES.get(name, {})}
    assert {each["name"] for each in job["artifacts"]} == OUT | stages
    assert [stage["file"] for stage in job["result"]["stages"]] == sorted(stages)


@with_labels
def test_what_is_handed_out_scores_what_is_reported(
    client: Client, runs: dict[str, Run], data: Rows, name: str
) -> None:
    run = runs[name]
    assert score(client, run, "student", STUDENT, data) == pytest.approx(run.report["test"]["student"]["accuracy"])
    for stage in run.report["stages"]:
        found = score(client, run, stage["name"], STAGES[name][stage["name"]], data)
        assert found == pytest.approx(stage[stage["selected"]]["test"]["accuracy"])


def score(client: Client, run: Run, stem: str, architecture: Json, data: Rows) -> float:
    """The test accuracy of a file, opened by plain torch."""
    logits = answers(client, run, stem, architecture, data)
    return share(logits.argmax(1) == data.y, data.of("test"))


@torch.no_grad()
def answers(client: Client, run: Run, stem: str, architecture: Json, data: Rows) -> Tensor:
    """What a file that was handed out says of all rows."""
    client.download(f"/jobs/{run.job['id']}/artifacts/{stem}.pth", run.folder / f"{stem}.pth")
    net = teachers.build(architecture, 10)
    net.load_state_dict(torch.load(run.folder / f"{stem}.pth", weights_only=True))
    (mean,), (std,) = run.report["input"]["mean"], run.report["input"]["std"]
    logits: Tensor = net.eval()((data.x / 255 - mean) / std)
    return logits


def share(right: Tensor, of: Tensor) -> float:
    """How many of some rows."""
    return float(right[of].double().mean())


@with_labels
def test_each_has_an_honest_control(runs: dict[str, Run], name: str) -> None:
    report = runs[name].report
    assert report["test"]["control"]["accuracy"] > 0.3, "four epochs by the labels alone"
    assert "no_control" not in report
    trained_apart = name != "generations"
    assert ("control" in report["runs"]) == trained_apart
    if trained_apart:
        assert report["runs"]["control"]["taught_by"] == []


@with_labels
def test_the_teacher_is_reported_where_one_was_handed_in(runs: dict[str, Run], name: str) -> None:
    test, alone = runs[name].report["test"], ("generations", "snapshot", "ema", "peers", "branches")
    assert (test["teacher"] is None) == (name in (*alone, "another task"))
    assert (test["agreement"] is None) == (test["teacher"] is None)


def test_mapped_classes_are_compared_by_name(
    client: Client, runs: dict[str, Run], taught: dict[str, Taught], data: Rows
) -> None:
    run = runs["mapped by name"]
    theirs = taught["more"].logits[:, [MORE.index(str(digit)) for digit in range(10)]].argmax(1)
    assert run.report["test"]["teacher"]["accuracy"] == pytest.approx(
        share(theirs == data.y, data.of("test")), abs=2e-3
    )
    ours = answers(client, run, "student", STUDENT, data).argmax(1)
    assert run.report["test"]["agreement"] == pytest.approx(share(ours == theirs, data.of("test")), abs=2e-3)


def test_classes_mapped_by_hand_are_scored_on_their_rows(
    client: Client, runs: dict[str, Run], taught: dict[str, Taught], data: Rows
) -> None:
    run, known = runs["mapped by hand"], data.of("test") & torch.isin(data.y, torch.tensor([1, 7]))
    theirs = torch.tensor([7, 1])[taught["few"].logits[:, :2].argmax(1)]
    assert run.report["test"]["teacher"]["accuracy"] == pytest.approx(share(theirs == data.y, known), abs=1e-2)
    ours = torch.tensor([1, 7])[answers(client, run, "student", STUDENT, data)[:, [1, 7]].argmax(1)]
    assert run.report["test"]["agreement"] == pytest.approx(share(ours == theirs, known), abs=1e-2)


def test_another_task_teaches_by_relations_and_features(runs: dict[str, Run]) -> None:
    run = runs["another task"]
    assert "teacher_not_scored" in run.notices()
    assert set(run.report["taps"]) == {"hint"}
    epochs = [data for data in seen(run.events, "metrics") if data["run"] == "student"]
    assert epochs[-1]["train"]["similarity"] < epochs[0]["train"]["similarity"]


@pytest.mark.parametrize(("name", "members"), [("ensemble", "wide graph conv"), ("ensemble with given", "graph given")])
def test_an_ensemble_reports_all_and_each(
    runs: dict[str, Run], taught: dict[str, Taught], data: Rows, ids: dict[str, str], name: str, members: str
) -> None:
    report, named = runs[name].report, {ids[each]: each for each in members.split()}
    assert set(report["test"]["teachers"]) == set(report["teachers"]) == set(named)
    assert all(each["sha256"] for each in report["teachers"].values())
    for id_, each in named.items():
        if each == "given":
            accuracy = share(taught["conv"].logits.argmax(1) == data.y, data.of("test") & data.given)
        elif each == "wide":
            continue
        else:
            accuracy = share(taught[each].logits.argmax(1) == data.y, data.of("test"))
        assert report["test"]["teachers"][id_]["accuracy"] == pytest.approx(accuracy, abs=2e-3)


def test_the_ensemble_is_the_weighted_mean_where_both_speak(
    runs: dict[str, Run], taught: dict[str, Taught], data: Rows
) -> None:
    graph, given = taught["graph"].logits, taught["conv"].logits
    both = 0.25 * graph.log_softmax(1) + 0.75 * given
    right = torch.where(data.given[:, None], both, graph).argmax(1) == data.y
    accuracy = runs["ensemble with given"].report["test"]["teacher"]["accuracy"]
    assert accuracy == pytest.approx(share(right, data.of("test")), abs=2e-3)


def test_given_outputs_are_scored_on_the_rows_that_they_are_of(
    client: Client, runs: dict[str, Run], taught: dict[str, Taught], data: Rows
) -> None:
    run, spoken = runs["given"], data.of("test") & data.given
    theirs = taught["conv"].logits.argmax(1)
    assert run.report["test"]["teacher"]["accuracy"] == pytest.approx(share(theirs == data.y, spoken), abs=2e-3)
    ours = answers(client, run, "student", STUDENT, data).argmax(1)
    assert run.report["test"]["agreement"] == pytest.approx(share(ours == theirs, spoken), abs=2e-3)
    (notice,) = [data for data in seen(run.events, "notice") if data["code"] == "partial_outputs"]
    assert "300 of 600 training rows" in notice["message"]


def test_terms_of_an_ensemble_listen_to_the_teacher_that_they_name(runs: dict[str, Run]) -> None:
    run = runs["ensemble"]
    assert [pair["teacher"] for pair in run.report["taps"]["hint"]] != []
    assert all(pair["teacher"].startswith("layers.") for pair in run.report["taps"]["hint"]), "of the convolutions"
    last = seen(run.events, "metrics")[0]["train"]
    assert {"kd", "hint", "rkd", "hard"} <= set(last)


def test_few_labels_are_enough_beside_a_teacher(runs: dict[str, Run]) -> None:
    test = runs["few labels"].report["test"]
    assert test["student"]["accuracy"] > test["control"]["accuracy"], "of 100 labels alone"


def test_without_labels_the_teacher_is_the_measure(
    client: Client, runs: dict[str, Run], taught: dict[str, Taught], data: Rows
) -> None:
    run, theirs = runs["no labels"], taught["conv"].logits.argmax(1)
    test = run.report["test"]
    assert (test["teacher"], test["control"]) == (None, None)
    assert run.report["no_control"].startswith("no training row has a label")
    assert "accuracy" not in test["student"]
    ours = answers(client, run, "student", STUDENT, data).argmax(1)
    assert test["student"]["agreement"] == pytest.approx(share(ours == theirs, data.of("test")), abs=2e-3)
    assert test["student"]["agreement"] > 0.5


def test_assistants_stand_between(client: Client, runs: dict[str, Run], data: Rows) -> None:
    run = runs["assistants"]
    assert [stage["taught_by"] for stage in run.report["stages"]] == [["teacher"], ["assistant_1"]]
    assert run.report["runs"]["student"]["taught_by"] == ["assistant_2"]
    assert [stage["last"]["epoch"] for stage in run.report["stages"]] == [4, 3]
    before = answers(client, run, "assistant_2", PEER, data).argmax(1)
    ours = answers(client, run, "student", STUDENT, data).argmax(1)
    agreed = share(ours == before, data.of("test"))
    assert run.report["runs"]["student"]["agreement"] == pytest.approx(agreed, abs=2e-3)


def test_the_first_generation_is_the_control(runs: dict[str, Run]) -> None:
    report = runs["generations"].report
    first, second = report["stages"]
    assert (first["taught_by"], second["taught_by"]) == ([], ["generation_1"])
    assert report["runs"]["student"]["taught_by"] == ["generation_2"]
    assert report["test"]["control"] == first[first["selected"]]["test"]


def test_generations_may_begin_with_a_teacher(runs: dict[str, Run]) -> None:
    report = runs["generations after a teacher"].report
    assert report["stages"][0]["taught_by"] == ["teacher"]
    assert report["runs"]["student"]["taught_by"] == ["generation_1"]


def test_nobody_teaches_before_the_first_snapshot(runs: dict[str, Run]) -> None:
    epochs = [data["train"] for data in seen(runs["snapshot"].events, "metrics") if data["run"] == "student"]
    assert [epoch["kd"] > 0 for epoch in epochs] == [False, False, True, True]
    control = [data["train"] for data in seen(runs["snapshot"].events, "metrics") if data["run"] == "control"]
    assert [epoch["hard"] for epoch in epochs[:2]] == pytest.approx([epoch["hard"] for epoch in control[:2]])


def test_the_average_teaches(runs: dict[str, Run]) -> None:
    report = runs["ema"].report
    assert report["runs"]["student"]["taught_by"] == ["itself"]
    assert report["runs"]["student"]["agreement"] is None, "it moves"


def test_peers_teach_each_other(runs: dict[str, Run]) -> None:
    report = runs["peers"].report
    assert report["runs"]["student"]["taught_by"] == ["peer_1", "peer_2"]
    assert [stage["taught_by"] for stage in report["stages"]] == [["student", "peer_2"], ["student", "peer_1"]]


def test_exits_are_reported_and_dropped(runs: dict[str, Run]) -> None:
    report = runs["branches"].report
    for which in ("best", "last"):
        exits = report["runs"]["student"][which]["exits"]
        assert list(exits) == ["hidden.0"]
        assert exits["hidden.0"]["test"]["accuracy"] > 0.3
