"""Health, figures, the menu, and the documents that describe the API."""

import json
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import event

from core import db, fleet
from models.spec.data import FORMATS, TASKS, Format, TaskName
from models.spec.job import EXPORTS, Export, JobSpec
from models.spec.losses.menu import ENTRIES, family, tag
from tests.api.made import BERT, CLASSES, IMAGES, MLP, OUTPUTS, RESNET, TABLE, TEXTS, Made, claim

MENUS = ["losses", "regimes", "students", "tasks", "formats", "exports"]


def test_ready_when_every_part_answers(api: httpx.Client) -> None:
    answer = api.get("/readyz")
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "storage": "ok"},
        "workers": 0,
    }


def test_whoever_asks_often_asks_the_parts_once_a_second(api: httpx.Client) -> None:
    statements: list[str] = []
    event.listen(db.engine(), "before_cursor_execute", lambda *said: statements.append(said[2]))
    with ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: api.get("/readyz").status_code, range(60)))
        seconds = time.monotonic() - began
    assert set(answers) == {200}
    asked = sum("workers" in statement for statement in statements)
    assert 1 <= asked <= 2 + seconds
    assert asked < 10


def test_figures_of_jobs_and_requests(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first, _ = (api.post("/jobs", json=body).json()["id"] for _ in range(2))
    claim(first)
    api.get(f"/jobs/{first}")
    with db.session() as session:
        fleet.show(session, "one", [{"name": "cuda:0", "kind": "cuda"}, {"name": "cuda:1", "kind": "cuda"}], 60)
        fleet.show(session, "two", [{"name": "cpu", "kind": "cpu"}], 60)
        fleet.show(session, "gone", [{"name": "cpu", "kind": "cpu"}], 0)
    text = api.get("/metrics").text
    assert 'distillery_jobs{status="queued"} 1.0' in text
    assert 'distillery_jobs{status="running"} 1.0' in text
    assert 'distillery_jobs{status="failed"} 0.0' in text
    assert "distillery_database_up 1.0" in text
    assert "distillery_workers 2.0" in text
    assert 'distillery_devices{kind="cuda"} 2.0' in text
    assert 'distillery_devices{kind="cpu"} 1.0' in text
    assert re.search(r"^distillery_oldest_queued_seconds 0\.\d+$", text, re.MULTILINE)
    assert 'distillery_requests_total{method="GET",route="/jobs/{job_id}",status="200"}' in text
    assert first not in text


def test_a_line_is_logged_for_what_changes_something_or_goes_wrong(
    api: httpx.Client, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "distillery.api"):
        job = made.job()
        api.get(f"/jobs/{job}")
        api.get("/jobs/job_0")
        api.post(f"/jobs/{job}/cancel")
    lines = [line.partition(" after ")[0] for line in caplog.messages if " after " in line]
    assert lines[-2:] == ["GET /jobs/job_0: 404", f"POST /jobs/{job}/cancel: 202"]
    assert f"GET /jobs/{job}: 200" not in lines


@pytest.mark.parametrize("menu", MENUS)
def test_every_entry_of_a_menu_explains_itself(api: httpx.Client, menu: str) -> None:
    items = api.get(f"/catalog/{menu}").json()["items"]
    assert items
    for item in items:
        assert item["type"]
        assert item["title"]
        assert len(item["description"]) > 20
    assert len({item["type"] for item in items}) == len(items)


def test_losses_say_their_formula_and_their_fields(api: httpx.Client) -> None:
    items = {item["type"]: item for item in api.get("/catalog/losses").json()["items"]}
    for item in items.values():
        assert item["formula"]
        assert item["paper"]
        assert item["use_when"]
        assert item["tasks"]
        assert item["schema"]["properties"]["weight"]["maximum"] == 1e6
    for entry in ENTRIES:
        item = items[tag(entry)]
        assert item["family"] == family(entry)
        facts = ("needs_taps", "needs_embedding", "same_outputs", "needs_labels", "hard_beside")
        assert {fact: item[fact] for fact in facts} == {fact: getattr(entry, fact) for fact in facts}
        assert (set(item["tasks"]), item["formula"]) == (set(entry.tasks), entry.formula)
    assert items["kd"]["defaults"] == {
        "type": "kd",
        "T": 4.0,
        "weight": 0.9,
        "teacher": None,
        "standardize": False,
    }
    assert items["dkd"]["needs_labels"] is True
    assert items["kd"]["schema"]["properties"]["T"]["exclusiveMinimum"] == 0
    assert items["hint"]["needs_taps"] is True
    schema = JobSpec.model_json_schema()
    assert set(items) == set(schema["properties"]["loss"]["anyOf"][0]["discriminator"]["mapping"])


def test_regimes_say_when_to_use_them_and_what_they_take(api: httpx.Client) -> None:
    items = {item["type"]: item for item in api.get("/catalog/regimes").json()["items"]}
    for name, item in items.items():
        assert item["use_when"], name
        assert item["paper"] or name == "outputs", name
        assert item["schema"]["properties"]["type"]["const"] == name
    branches = JobSpec.model_json_schema()["properties"]["teacher"]["anyOf"]
    (menu,) = (branch["discriminator"]["mapping"] for branch in branches if "discriminator" in branch)
    assert set(items) == set(menu)
    assert {name for name, item in items.items() if item["handed_in"]} == {"stored", "outputs", "ensemble"}
    assert items["ema"]["defaults"]["decay"] == 0.999
    assert "stop_gradient" in items["peers"]["formula"]


def test_students_say_what_they_take(api: httpx.Client) -> None:
    items = {item["type"]: item for item in api.get("/catalog/students").json()["items"]}
    assert items["mlp"]["takes"] == ["image", "table"]
    assert set(items) == set(JobSpec.model_json_schema()["properties"]["student"]["discriminator"]["mapping"])


def test_what_is_described_is_what_there_is() -> None:
    assert tuple(TASKS) == get_args(TaskName)
    assert tuple(FORMATS) == get_args(Format)
    assert tuple(EXPORTS) == get_args(Export)


def document(api: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = api.get("/openapi.json").json()
    return answer


def operations(api: httpx.Client) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document(api)["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_described(api: httpx.Client) -> None:
    found = operations(api)
    for name, operation in found:
        assert operation["summary"], name
        assert operation["description"], name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), name
        assert {"500", "503"} <= set(operation["responses"]) or "health" in operation["tags"], name
        if "requestBody" in operation and " /uploads" not in name:
            assert operation["requestBody"]["content"]["application/json"]["examples"], name
    ids = [operation["operationId"] for _, operation in found]
    assert len(ids) == len(set(ids))


def examples(api: httpx.Client, path: str) -> dict[str, Any]:
    content = document(api)["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return {name: example["value"] for name, example in content["examples"].items()}


def test_the_examples_of_jobs_work_as_they_stand(api: httpx.Client, made: Made) -> None:
    for teacher in (RESNET, {**RESNET, "classes": CLASSES}, MLP, BERT):
        made.teacher(teacher)
    for data in (IMAGES, TABLE, TEXTS, OUTPUTS):
        made.dataset(data)
    found = examples(api, "/jobs")
    regimes = {item["type"] for item in api.get("/catalog/regimes").json()["items"]}
    kinds = {body["teacher"]["type"] if isinstance(body["teacher"], dict) else "stored" for body in found.values()}
    assert kinds == regimes
    assert {"smallest", "kd_and_similarity", "hint_with_taps", "tabular", "texts", "class_map", "assistant"} < set(
        found
    )
    for name, body in found.items():
        answer = api.post("/jobs", json=body)
        assert answer.status_code == 201, (name, answer.text)


def test_an_example_that_works_comes_first(api: httpx.Client, made: Made) -> None:
    made.teacher(MLP)
    made.dataset(TABLE)
    first = next(iter(examples(api, "/jobs").values()))
    assert api.post("/jobs", json=first).status_code == 201


def test_without_any_teacher_the_examples_are_well_formed(api: httpx.Client) -> None:
    for body in examples(api, "/jobs").values():
        JobSpec.model_validate(body)


@pytest.mark.parametrize("path", ["/teachers", "/datasets"])
def test_the_examples_of_teachers_and_data_sets_work_too(api: httpx.Client, made: Made, path: str) -> None:
    made.upload()
    for body in examples(api, path).values():
        answer = api.post(path, json=body)
        assert answer.status_code == 201, answer.text


def test_ids_in_paths_are_those_of_the_newest(api: httpx.Client, made: Made) -> None:
    job = made.job()
    get_job = document(api)["paths"]["/jobs/{job_id}"]["get"]
    assert get_job["parameters"][0]["example"] == job


def test_the_docs_page_names_nothing_beyond_this_machine(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert "http" not in re.sub(r"<!doctype[^>]*>|http-equiv", "", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for script in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        assert api.get(f"/{script}").status_code == 200
    assert api.get("/").headers["location"] == "docs"
    assert json.dumps(document(api))
