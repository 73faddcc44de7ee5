"""Bounds on requests, over real sockets at the real server, and the headers of every answer."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import httpx
import pytest

from api import main
from api.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES
from core.settings import settings
from models.roles import Role
from tests.api.conftest import Doors
from tests.api.made import Made, Server, claim, problem, succeed

Limit = Callable[..., None]
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
JSON = b"POST /teachers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    def set_to(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"DISTILLERY_{name.upper()}", str(value))
        settings.cache_clear()

    yield set_to
    settings.cache_clear()


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def rest(client: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    whole = b""
    while True:
        try:
            part = client.recv(65_536)
        except ConnectionResetError:
            return whole
        if not part:
            return whole
        whole += part


def dribble(client: socket.socket, data: bytes, every_s: float) -> float:
    """Send a byte at a time until the server has enough; how long it took that."""
    began_at = time.monotonic()
    for byte in data:
        try:
            client.sendall(bytes([byte]))
        except OSError:
            break
        client.settimeout(every_s)
        try:
            if client.recv(65_536, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    client.settimeout(10)
    return time.monotonic() - began_at


def code_of(answer: bytes) -> tuple[int, str]:
    """Status and code of a refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    found = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {found['status']} ".encode())
    return found["status"], found["code"]


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\n", HEAD + b"X-A: b"], ids=len)
def test_a_head_that_does_not_come(server: Server, limit: Limit, sent: bytes) -> None:
    limit(head_s=0.4)
    with closing(dial(server)) as client:
        began_at = time.monotonic()
        client.sendall(sent)
        assert code_of(rest(client)) == (408, "too_slow")
        assert 0.3 < time.monotonic() - began_at < 2


def test_a_head_that_dribbles(server: Server, limit: Limit) -> None:
    limit(head_s=0.5)
    with closing(dial(server)) as client:
        took_s = dribble(client, HEAD + b"X-A: " + b"a" * 1000, 0.02)
        assert took_s < 2
        assert code_of(rest(client)) == (408, "too_slow")


def test_the_second_head_of_a_connection_has_its_time_too(server: Server, limit: Limit) -> None:
    limit(head_s=0.5)
    with closing(dial(server)) as client:
        client.sendall(HEAD + b"\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client.sendall(HEAD)
        assert code_of(rest(client)) == (408, "too_slow")


@pytest.mark.parametrize("start", [UPLOAD, JSON], ids=["upload", "json"])
def test_a_body_that_stalls(server: Server, limit: Limit, start: bytes) -> None:
    limit(body_idle_s=0.4)
    with closing(dial(server)) as client:
        began_at = time.monotonic()
        client.sendall(start + b"{")
        assert code_of(rest(client)) == (408, "too_slow")
        assert time.monotonic() - began_at < 2


@pytest.mark.parametrize("start", [UPLOAD, JSON], ids=["upload", "json"])
def test_a_body_that_dribbles(server: Server, limit: Limit, start: bytes) -> None:
    limit(body_idle_s=0.4, body_least_rate=1000)
    with closing(dial(server)) as client:
        client.sendall(start)
        assert dribble(client, b"{" * 1000, 0.02) < 2
        assert code_of(rest(client)) == (408, "too_slow")


def test_a_slow_body_above_the_least_rate_arrives(server: Server, limit: Limit) -> None:
    limit(body_idle_s=0.3, body_least_rate=100)
    with closing(dial(server)) as client:
        client.sendall(UPLOAD.replace(b"1000000", b"1000").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for _ in range(10):
            client.sendall(b"x" * 100)
            time.sleep(0.1)
        assert rest(client).startswith(b"HTTP/1.1 201 ")


def test_an_answer_that_is_not_read(server: Server, made: Made, limit: Limit) -> None:
    limit(answer_idle_s=0.4)
    job = made.job()
    succeed(claim(job), student_pth=b"x" * 64 * 2**20)
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET /jobs/{job}/student.pth HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1.5)
        client.settimeout(10)
        assert len(rest(client)) < 64 * 2**20


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (b"GET /" + b"a" * (MAX_URL_BYTES + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414, "url_too_long")),
        (HEAD + b"X-A: " + b"a" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n", (431, "headers_too_large")),
        (HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(MAX_HEADERS + 1)) + b"\r\n", (431, "headers_too_large")),
        (HEAD + b"X-A: " + b"a" * 400_000, (431, "headers_too_large")),
        (b"HELLO\r\n\r\n", (400, "malformed")),
        (HEAD + b"X A: b\r\n\r\n", (400, "malformed")),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", (400, "malformed")),
    ],
    ids=["address", "one header", "many headers", "a header without end", "no HTTP", "no header", "two lengths"],
)
def test_heads_that_are_refused(server: Server, sent: bytes, refusal: tuple[int, str]) -> None:
    with closing(dial(server)) as client:
        with suppress(OSError):  # it has had enough before the end
            client.sendall(sent)
        assert code_of(rest(client)) == refusal


def test_more_connections_than_may_be(server: Server, limit: Limit) -> None:
    limit(max_connections=3)
    with closing(dial(server)) as first, closing(dial(server)), closing(dial(server)):
        time.sleep(0.1)
        with closing(dial(server)) as one_more:
            assert code_of(rest(one_more)) == (503, "too_many_connections")
        first.sendall(HEAD + b"\r\n")
        assert first.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "a/../b", "a@b", ""])
def test_names_that_are_not_ours(api: httpx.Client, host: str) -> None:
    problem(api.get("/healthz", headers={"Host": host}), 400, "host_not_allowed")


def test_a_request_with_two_names_or_none(server: Server) -> None:
    for head in (b"GET /jobs HTTP/1.1\r\n\r\n", b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n"):
        with closing(dial(server)) as client:
            client.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert code_of(rest(client)) == (400, "host_not_allowed")


def test_names_of_ours(api: httpx.Client, limit: Limit) -> None:
    for host in ("localhost", "127.0.0.1:1", "[::1]:80", "LOCALHOST"):
        assert api.get("/healthz", headers={"Host": host}).status_code == 200
    limit(hosts="distillery.example, other.example")
    assert api.get("/healthz", headers={"Host": "Distillery.example"}).status_code == 200
    problem(api.get("/healthz", headers={"Host": "third.example"}), 400, "host_not_allowed")


def test_a_name_with_a_path_in_it_opens_no_other_route(doors: Doors, limit: Limit, server: Server) -> None:
    doors("vision")
    limit(host="0.0.0.0")
    with closing(dial(server)) as client:
        client.sendall(b"GET /jobs HTTP/1.1\r\nHost: a/healthz?\r\nConnection: close\r\n\r\n")
        assert code_of(rest(client)) == (400, "host_not_allowed")
    answer = httpx.get(f"{server.url}/jobs", headers={"Host": "any.example"})
    assert answer.status_code == 401


def test_without_keys_a_page_of_another_site_changes_nothing(api: httpx.Client, server: Server, doors: Doors) -> None:
    foreign, own = {"Origin": "https://evil.example"}, {"Origin": server.url}
    problem(api.post("/uploads", content=b"x", headers=foreign), 403, "other_origin")
    problem(api.post("/uploads", content=b"x", headers={"Origin": "null"}), 403, "other_origin")
    assert api.post("/uploads", content=b"x", headers=own).status_code == 201
    assert doors("vision").post("/uploads", content=b"x", headers=foreign).status_code == 201


def test_no_page_of_another_site_may_read(api: httpx.Client) -> None:
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    for answer in (api.get("/jobs", headers=asked), api.options("/jobs", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_named_origins_may(limit: Limit, database: str, redis_url: str) -> None:
    limit(cors_origins="https://page.example")
    with Server() as own, httpx.Client(base_url=own.url) as api:
        asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
        assert api.options("/jobs", headers=asked).headers["access-control-allow-origin"] == "https://page.example"
        asked["Origin"] = "https://evil.example"
        assert "access-control-allow-origin" not in api.options("/jobs", headers=asked).headers


EVERY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/docs/static/swagger-ui.css", "/healthz", "/jobs", "/jobs/job_0", "/nothing", "/metrics"],
)
def test_the_headers_of_every_answer(api: httpx.Client, server: Server, path: str) -> None:
    answer = api.get(path)
    assert {name: answer.headers.get(name) for name in EVERY} == EVERY
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "strict-transport-security" not in answer.headers
    if not path.startswith("/docs/static"):
        assert "no-store" in answer.headers["cache-control"]
    assert "server" not in answer.headers


def test_a_bug_has_the_headers_and_tells_nothing(server: Server) -> None:
    """The application itself, with a route that fails: nothing in the service does on purpose."""
    app = main.create_app()

    async def bug() -> None:
        raise RuntimeError("/etc/secret in a trace")

    app.add_api_route("/healthz/bug", bug)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/healthz/bug")

    answer = asyncio.run(ask())
    body = problem(answer, 500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert {name: answer.headers.get(name) for name in EVERY} == EVERY


def test_behind_tls_browsers_stay_with_it(api: httpx.Client, limit: Limit) -> None:
    limit(tls="true")
    assert api.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"


def test_figures_are_for_admins_or_for_all(doors: Doors, limit: Limit) -> None:
    problem(doors("vision").get("/metrics"), 403, "forbidden")
    assert doors("vision", Role.ADMIN).get("/metrics").status_code == 200
    limit(metrics_open="true")
    assert doors.with_token(None).get("/metrics").status_code == 200
