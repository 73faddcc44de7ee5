"""Sends users the messages that wait for them: claim, sign, post, record, until the worker goes away.

A process of its own, which the patrol keeps alive while there is an endpoint (`python -m worker.once webhooks`): an
endpoint that hangs holds up nothing else. Whatever ends between sending and recording sends the message again, under
the same webhook-id.
"""

import json
import logging
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpcore
from standardwebhooks import Webhook

from core import db, webhooks
from core.settings import settings
from core.webhooks import Answer, Outgoing
from models.webhooks import EndpointStatus
from worker import drain
from worker.outage import OUTAGE, reason
from worker.webhook_connection import GuardedBackend, Refused

log = logging.getLogger(__name__)

#: Messages on their way at once, to all endpoints together.
_AT_ONCE = 16
#: As much of an answer is read.
_MOST_BYTES = 2048
_USER_AGENT = "Distillery-Webhooks/1"


def send_all() -> None:
    """Send what is due, and what becomes due, as long as there is an endpoint and nobody asks to leave."""
    free = threading.Semaphore(_AT_ONCE)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
        while not drain.requested():
            try:
                free.acquire()
                sent = _claim()
                if sent is not None:
                    pool.submit(_send_and_free, sent, free)
                    continue
                free.release()
                if not _is_needed():
                    return
            except OUTAGE as error:
                free.release()
                log.warning("no webhook is sent while the database is away: %s", reason(error))
            time.sleep(settings().webhook_poll_s)


def _claim() -> Outgoing | None:
    with db.session() as session:
        return webhooks.claim(session)


def _is_needed() -> bool:
    with db.session() as session:
        return webhooks.any_enabled(session)


def _send_and_free(sent: Outgoing, free: threading.Semaphore) -> None:
    try:
        send(sent)
    except OUTAGE as error:
        log.warning("what came of %s was not recorded; it is sent again: %s", sent.message_id, reason(error))
    except Exception:
        log.exception("the message %s could not be sent", sent.message_id)
    finally:
        free.release()


def send(sent: Outgoing) -> None:
    """Send one message and write down what came of it."""
    answer = post(sent)
    with db.session() as session:
        status = webhooks.record(session, sent, answer)
    came = f"status {answer.status}" if answer.status is not None else answer.error
    log.info("%s %s: %s", sent.type, sent.message_id, came)
    if status is EndpointStatus.DISABLED:
        log.warning("the webhook of %s is disabled", sent.message_id)


def post(sent: Outgoing, ssl_context: ssl.SSLContext | None = None) -> Answer:
    """Post one message. Redirects are not followed, and no proxy of the environment is used."""
    config = settings()
    if not sent.url.startswith("https://") and not config.webhooks_private_hosts:
        return Answer(None, error="webhooks go over https alone")
    backend = GuardedBackend(config.webhook_timeout_s, private_hosts=config.webhooks_private_hosts)
    body, headers = signed(sent, datetime.now(UTC))
    try:
        with (
            httpcore.ConnectionPool(ssl_context=ssl_context, network_backend=backend) as pool,
            pool.stream("POST", sent.url, headers=headers, content=body) as response,
        ):
            return Answer(response.status, _start_of(response), _complaint(response.status))
    except Refused as error:
        return Answer(None, error=str(error))
    except httpcore.TimeoutException:
        return Answer(None, error=f"no answer within {config.webhook_timeout_s:g} s")
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, ValueError) as error:
        return Answer(None, error=f"{type(error).__name__}: {error}"[:300])


def signed(sent: Outgoing, now: datetime) -> tuple[bytes, list[tuple[str, str]]]:
    """The body and the headers, as Standard Webhooks has them; each secret gives one signature."""
    message = {"type": sent.type, "timestamp": sent.occurred_at.astimezone(UTC).isoformat(), "data": sent.data}
    body = json.dumps(message, separators=(",", ":"))
    signatures = [Webhook(secret).sign(sent.message_id, now, body) for secret in sent.secrets]
    headers = [
        ("content-type", "application/json"),
        ("user-agent", _USER_AGENT),
        ("webhook-id", sent.message_id),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]
    return body.encode(), headers


def _start_of(response: httpcore.Response) -> str:
    """The start of the answer; what it says further on, or too late, does not matter."""
    found = b""
    try:
        for part in response.iter_stream():
            found += part
            if len(found) >= _MOST_BYTES:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    return found[:_MOST_BYTES].decode(errors="replace")


def _complaint(status: int) -> str:
    if 200 <= status < 300:
        return ""
    return "redirects are not followed" if 300 <= status < 400 else f"answered {status}"
