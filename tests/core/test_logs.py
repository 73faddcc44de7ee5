"""Log lines: one a record, readable by machines, with the job in them and no password."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from core import logs
from core.settings import settings

log = logging.getLogger("tests.logs")

SECRETS = [
    "postgresql+psycopg://app:hunter2@db:5432/distillery",
    "redis://:hunter2@redis:6379/0",
    "connection failed: host=db user=app password=hunter2",
    "AWS secret_access_key: hunter2",
    "Authorization: Bearer hunter2",
]


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    """Gives the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture(params=["false", "true"])
def is_json(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("DISTILLERY_LOG_JSON", request.param)
    settings.cache_clear()
    return bool(request.param == "true")


def _fail(error: Exception) -> None:
    def fail() -> None:
        raise error

    try:
        fail()
    except Exception:
        log.exception("failed")


def test_a_record_is_one_line(is_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log.info("two\nlines %s", 'a="b"', extra={"size": 3, "where": "x y"})
    _fail(ValueError("no"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    if is_json:
        first = json.loads(lines[0])
        assert first["message"] == 'two\nlines a="b"'
        assert (first["level"], first["size"], first["where"]) == ("info", 3, "x y")
        assert "ValueError: no" in json.loads(lines[1])["traceback"]
    else:
        assert 'level=info logger=tests.logs message="two\\nlines a=\\"b\\"" size=3 where="x y"' in lines[0]
        assert "ValueError: no" in lines[1]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_password_reaches_a_line(is_json: bool, capsys: pytest.CaptureFixture[str], secret: str) -> None:
    logs.configure()
    log.warning("cannot reach %s", secret, extra={"address": secret, "more": {"inside": secret}})
    _fail(ConnectionError(secret))
    with logs.bound(url=secret):
        log.error("y")
    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert told.count("***") >= 5


def test_ordinary_text_is_left_alone() -> None:
    for text in ("http://127.0.0.1:8000/jobs", "10:30 a@b", "unix:///run/redis.sock?db=0"):
        assert logs.without_secrets(text) == text


def test_the_job_is_bound_to_its_thread_and_unbound_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    with logs.bound(job="job_A", attempt=2):
        log.warning("inside")
        with logs.bound(phase="training"):
            log.warning("deeper")
        other = threading.Thread(target=log.warning, args=("elsewhere",))
        other.start()
        other.join()
    log.warning("outside")
    inside, deeper, elsewhere, outside = capsys.readouterr().err.splitlines()
    assert inside.endswith("message=inside job=job_A attempt=2")
    assert deeper.endswith("job=job_A attempt=2 phase=training")
    assert "job_A" not in elsewhere + outside


def test_the_level_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DISTILLERY_LOG_LEVEL", "warning")
    settings.cache_clear()
    logs.configure()
    log.info("quiet")
    log.warning("loud")
    assert capsys.readouterr().err.count("\n") == 1
