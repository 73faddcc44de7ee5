"""A connection to a user's endpoint that ends in time and leads to the public internet alone.

The name is looked up once, every address that it has is checked, and the connection goes to one of those addresses: a
name that means something else a moment later (DNS rebinding) gains nothing. TLS still names and checks the host.
"""

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

from core.addresses import is_public


class Refused(Exception):
    """The service does not call this address."""


class GuardedBackend(httpcore.NetworkBackend):
    """Opens connections for httpcore. All that is done with them must end within `limit_s` from now."""

    def __init__(self, limit_s: float, *, private_hosts: bool) -> None:
        self._inner = httpcore.SyncBackend()
        self._deadline = time.monotonic() + limit_s
        self._private_hosts = private_hosts

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts, here and below
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """To the first of the host's addresses that answers. Refused where any of them is not public."""
        addresses = self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, socket_options)

    def _connect(self, address: str, port: int, options: Iterable[SOCKET_OPTION] | None) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(address, port, left(self._deadline), None, options)
        return _Timed(stream, self._deadline)

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not self._private_hosts and not all(is_public(address) for address in addresses):
            raise Refused(f"{host} leads to an address that is not of the public internet")
        return addresses


def left(deadline: float) -> float:
    """Seconds that are left; httpcore.ReadTimeout where none are."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("out of time")
    return seconds


class _Timed(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: an answer that trickles in does not hold a sender."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """See NetworkStream."""
        return self._inner.read(max_bytes, left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """See NetworkStream."""
        self._inner.write(buffer, left(self._deadline))

    def close(self) -> None:
        """See NetworkStream."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """See NetworkStream."""
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """See NetworkStream."""
        return self._inner.get_extra_info(info)
