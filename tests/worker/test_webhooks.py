"""Webhooks on their way: to a real receiver that verifies, fails, hangs, redirects or is gone, and never inside."""

import http.server
import json
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from sqlalchemy import func, select, update
from standardwebhooks import Webhook as Verifier

from core import db, webhooks
from core.settings import settings
from core.webhooks import Outgoing
from models.tables import Webhook, WebhookDelivery
from models.webhooks import DeliveryStatus, EndpointStatus
from worker import drain
from worker.webhook_connection import GuardedBackend, Refused
from worker.webhooks import post, send, send_all

Reply = Callable[[http.server.BaseHTTPRequestHandler], None]


class Receiver:
    """An endpoint on loopback. `replies` are given in order, the last one for ever."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = [status(204)]
        self.got: list[tuple[dict[str, str], bytes, str]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((dict(self.headers.items()), body, self.path))
                reply = receiver.replies.pop(0) if len(receiver.replies) > 1 else receiver.replies[0]
                reply(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        if tls is not None:
            # Each connection shakes hands in its own thread, when it is first read.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    def reply(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return reply


@pytest.fixture
def inside(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers on loopback are allowed, and things go fast."""
    monkeypatch.setenv("DISTILLERY_WEBHOOKS_PRIVATE_HOSTS", "true")
    monkeypatch.setenv("DISTILLERY_WEBHOOK_TIMEOUT_S", "0.5")
    monkeypatch.setenv("DISTILLERY_WEBHOOK_POLL_S", "0.02")
    settings.cache_clear()


@pytest.fixture
def receiver(inside: None) -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def waiting_message(url: str) -> str:
    """The secret of a new endpoint that has one message waiting."""
    with db.session() as session:
        row = webhooks.create(session, "local", url, ["job.succeeded"], "")
        webhooks.announce(session, "local", "job", "job_A", "succeeded")
        return row.secret


def claimed() -> Outgoing:
    with db.session() as session:
        found = webhooks.claim(session)
    assert found is not None
    return found


def only() -> WebhookDelivery:
    with db.session() as session:
        return session.scalars(select(WebhookDelivery)).one()


def make_due() -> None:
    with db.session() as session:
        past = func.now() - timedelta(seconds=1)
        session.execute(update(WebhookDelivery).values(next_at=past, lease_expires_at=None))


def test_a_message_arrives_and_verifies(receiver: Receiver) -> None:
    secret = waiting_message(receiver.url)
    send(claimed())
    ((headers, body, path),) = receiver.got
    message: dict[str, Any] = Verifier(secret).verify(body, headers)
    assert (message["type"], message["data"]) == ("job.succeeded", {"id": "job_A", "status": "succeeded"})
    assert set(message) == {"type", "timestamp", "data"}
    assert abs(datetime.fromisoformat(message["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=30)
    assert path == "/hook"
    assert (only().status, only().answer_status) == (DeliveryStatus.DELIVERED, 204)


def test_a_changed_body_does_not_verify(receiver: Receiver) -> None:
    secret = waiting_message(receiver.url)
    send(claimed())
    headers, body, _ = receiver.got[0]
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(secret).verify(body.replace(b"job_A", b"job_B"), headers)


def test_it_is_tried_again_under_one_id_until_it_is_taken(receiver: Receiver) -> None:
    waiting_message(receiver.url)
    receiver.replies = [status(500, b"sorry"), status(503), status(200)]
    for expected in (DeliveryStatus.PENDING, DeliveryStatus.PENDING, DeliveryStatus.DELIVERED):
        send(claimed())
        assert only().status is expected
        make_due()
    assert len({headers["webhook-id"] for headers, _, _ in receiver.got}) == 1
    assert only().attempts == 3


def test_both_secrets_sign_after_a_rotation(receiver: Receiver) -> None:
    old = waiting_message(receiver.url)
    with db.session() as session:
        row = session.scalars(select(Webhook)).one()
        webhooks.rotate(session, row)
        new = row.secret
    send(claimed())
    headers, body, _ = receiver.got[0]
    for secret in (old, new):
        Verifier(secret).verify(body, headers)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    waiting_message(receiver.url)
    receiver.replies = [status(302, location="/other")]
    send(claimed())
    assert [path for _, _, path in receiver.got] == ["/hook"]
    assert (only().status, only().answer_status) == (DeliveryStatus.PENDING, 302)
    assert "redirect" in (only().error or "")


def test_410_disables_the_endpoint(receiver: Receiver) -> None:
    waiting_message(receiver.url)
    receiver.replies = [status(410)]
    send(claimed())
    with db.session() as session:
        assert session.scalars(select(Webhook)).one().status is EndpointStatus.DISABLED
    assert only().status is DeliveryStatus.FAILED


def trickle(request: http.server.BaseHTTPRequestHandler) -> None:
    """Headers that never end, a byte at a time."""
    try:
        for _ in range(100):
            request.wfile.write(b"H")
            request.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize("hang", [lambda _: time.sleep(1.5), trickle])
def test_whoever_hangs_is_left_in_time(receiver: Receiver, hang: Reply) -> None:
    waiting_message(receiver.url)
    receiver.replies = [hang]
    began = time.monotonic()
    send(claimed())
    assert time.monotonic() - began < 1.4
    assert (only().status, only().answer_status) == (DeliveryStatus.PENDING, None)
    assert only().error


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    waiting_message(receiver.url)
    receiver.replies = [status(200, b"x" * 1_000_000)]
    send(claimed())
    assert only().status is DeliveryStatus.DELIVERED
    assert len(only().answer_body or "") == 500


def test_nobody_there_is_a_failure(inside: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    waiting_message(f"http://127.0.0.1:{port}/")
    send(claimed())
    assert "ConnectError" in (only().error or "")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254"],
)
def test_nothing_inside_is_called(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DISTILLERY_WEBHOOKS_PRIVATE_HOSTS", "false")
    settings.cache_clear()
    port = receiver.url.rpartition(":")[2]
    for scheme in ("http", "https"):
        sent = Outgoing(
            "whd_A", "t", f"{scheme}://{host}:{port}", ("whsec_" + "A" * 32,), "msg", "t", datetime.now(UTC), {}
        )
        answer = post(sent)
        assert answer.status is None
        assert "https alone" in answer.error if scheme == "http" else "not of the public internet" in answer.error
    assert receiver.got == []


def test_the_address_that_was_checked_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once; what it means a moment later does not matter."""
    looked_up = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1" if host == "rebinding.example" else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(Refused):
        GuardedBackend(1, private_hosts=False).connect_tcp("rebinding.example", 9)
    with socket.create_server(("127.0.0.1", 0)) as ear:
        GuardedBackend(1, private_hosts=True).connect_tcp("rebinding.example", ear.getsockname()[1]).close()
    assert looked_up.count("rebinding.example") == 2


@contextmanager
def senders(number: int) -> Iterator[None]:
    """So many senders at once, as threads of one process: a claim is the database's."""
    running = [threading.Thread(target=send_all) for _ in range(number)]
    for each in running:
        each.start()
    yield
    with db.session() as session:
        session.execute(update(Webhook).values(status=EndpointStatus.DISABLED))
    for each in running:
        each.join()


def test_two_senders_send_each_message_once(receiver: Receiver) -> None:
    assert not drain.requested()
    with db.session() as session:
        row = webhooks.create(session, "local", receiver.url, ["job.succeeded"], "")
        for _ in range(20):
            webhooks.send_test(session, row)
    with senders(2):
        until = time.monotonic() + 20
        while len(receiver.got) < 20 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)
    ids = [headers["webhook-id"] for headers, _, _ in receiver.got]
    assert len(ids) == len(set(ids)) == 20


def _post_and_die(sent: Outgoing) -> None:
    post(sent)


def test_whoever_dies_before_recording_sends_it_again_under_the_same_id(receiver: Receiver) -> None:
    waiting_message(receiver.url)
    doomed = multiprocessing.get_context("spawn").Process(target=_post_and_die, args=(claimed(),))
    doomed.start()
    doomed.join()
    assert doomed.exitcode == 0
    assert only().status is DeliveryStatus.PENDING, "nobody has recorded it"
    with db.session() as session:
        assert webhooks.claim(session) is None, "its lease holds"
    make_due()
    send(claimed())
    first, second = (headers["webhook-id"] for headers, _, _ in receiver.got)
    assert first == second
    assert json.loads(receiver.got[1][1])["data"]["id"] == "job_A"
    assert only().status is DeliveryStatus.DELIVERED


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_sender_that_is_killed_before_it_records_has_its_message_sent_again(receiver: Receiver) -> None:
    secret = waiting_message(receiver.url)
    root = Path(__file__).resolve().parents[2]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "worker.once", "webhooks"], cwd=root, env=os.environ)

    first = start()

    def killing(request: http.server.BaseHTTPRequestHandler) -> None:
        first.send_signal(signal.SIGKILL)
        first.wait()
        status(200)(request)

    receiver.replies = [killing, status(200)]
    assert first.wait(timeout=20) == -signal.SIGKILL
    assert (only().status, only().attempts) == (DeliveryStatus.PENDING, 1)
    make_due()
    second = start()
    try:
        until(lambda: only().status is DeliveryStatus.DELIVERED)
        with db.session() as session:
            session.execute(update(Webhook).values(status=EndpointStatus.DISABLED))
        assert second.wait(timeout=20) == 0, "without an endpoint there is nothing to wait for"
    finally:
        second.kill()
        second.wait()
    assert [Verifier(secret).verify(body, headers)["data"]["id"] for headers, body, _ in receiver.got] == ["job_A"] * 2
    assert len({headers["webhook-id"] for headers, _, _ in receiver.got}) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, for `localhost` and no other name, and its key."""
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=receiver", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", *kind, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def test_https_names_the_host_and_believes_no_other(inside: None, certificate: tuple[Path, Path]) -> None:
    asked_for: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=certificate[0])
    secret = "whsec_" + "A" * 32

    def to(host: str, context: ssl.SSLContext | None) -> webhooks.Answer:
        url = f"https://{host}:{secured.port}/hook"
        return post(Outgoing("whd_A", "t", url, (secret,), "msg_A", "job.succeeded", datetime.now(UTC), {}), context)

    with Receiver(tls) as secured:
        assert to("localhost", trusting).status == 204
        assert asked_for == ["localhost"], "SNI names the host, though the connection goes to an address"
        wrong, strange = to("127.0.0.1", trusting), to("localhost", None)
        for refused in (wrong, strange):
            assert refused.status is None
            assert "CERTIFICATE_VERIFY_FAILED" in refused.error
        assert "mismatch" in wrong.error
        assert "self-signed" in strange.error
    ((headers, body, _),) = secured.got
    assert Verifier(secret).verify(body, headers)["type"] == "job.succeeded"
