"""A receiver is told of a job by the running service, and can believe it."""

import http.server
import queue
import threading
from typing import Any

import pytest
from standardwebhooks import Webhook

from scripts.client import Client

pytestmark = pytest.mark.acceptance


def test_a_job_that_ends_is_told_and_signed(client: Client, ready: dict[str, str]) -> None:
    got: queue.Queue[tuple[bytes, dict[str, str]]] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((self.rfile.read(int(self.headers["content-length"])), dict(self.headers.items())))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        hook = client.post("/webhooks", {"url": url, "events": ["job.paused", "job.cancelled"]})
        body = {**ready, "student": {"type": "mlp", "hidden": [8]}, "loss": {"type": "kd", "T": 4}}
        job = client.post("/jobs", {**body, "train": {"epochs": 5000}})
        client.post(f"/jobs/{job['id']}/cancel", {})
        told: dict[str, Any] = Webhook(hook["secret"]).verify(*got.get(timeout=60))
        server.shutdown()
        thread.join()
    assert (told["type"], told["data"]) == ("job.cancelled", {"id": job["id"], "status": "cancelled"})
    (delivery,) = client.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    assert delivery["attempts"] == 1
