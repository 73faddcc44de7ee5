"""As much of the S3 protocol as obstore speaks to: objects, ranges, listings and multipart uploads, kept in memory."""

import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

_DATE = "Wed, 01 Jan 2025 00:00:00 GMT"


class TinyS3:
    """A server of one bucket in a thread of this process."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.refuses = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"s3": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "TinyS3":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    s3: TinyS3
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gives it
        pass

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/").removeprefix("/bucket")

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        body, query = self._body(), self._query
        if "uploadId" in query:
            self.s3.parts[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.s3.objects[self._key] = body
        self._answer(200, ETag='"x"')

    def do_POST(self) -> None:
        body, query = self._body(), self._query
        if "delete" in query:
            gone = re.findall("<Key>(.*?)</Key>", body.decode())
            for key in gone:
                self.s3.objects.pop(unescape(key), None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in gone)
            told = f"<DeleteResult>{deleted}</DeleteResult>"
        elif "uploads" in query:
            upload = uuid.uuid4().hex
            self.s3.parts[upload] = {}
            told = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        else:
            parts = self.s3.parts.pop(query["uploadId"])
            self.s3.objects[self._key] = b"".join(parts[number] for number in sorted(parts))
            told = '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
        self._answer(200, told.encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.s3.refuses:
            self._answer(403)
        elif not self._key:
            self._list(self._query.get("prefix", ""))
        elif self._key not in self.s3.objects:
            self._answer(404)
        else:
            self._content(self.s3.objects[self._key])

    def _content(self, body: bytes) -> None:
        told = {"ETag": '"x"', "Last_Modified": _DATE}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, body, **told)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
        self._answer(206, body[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(body)}", **told)

    def _list(self, prefix: str) -> None:
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size>"
            '<LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
            for key, body in sorted(self.s3.objects.items())
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult>{rows}</ListBucketResult>".encode())
