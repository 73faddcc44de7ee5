"""Which URLs a webhook may have. What a name leads to is checked at each sending; what can be told now is told now."""

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from core.addresses import is_public
from core.errors import Invalid
from core.settings import settings

_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])"
_REST = r"(?:[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
#: What a URL looks like that can be called: a host, perhaps a port, a path in the letters that URLs have.
FORM = rf"^https://{_HOST}(?::[0-9]{{1,5}})?{_REST}$"


def require_fit(url: str) -> None:
    """Invalid at /url where nothing would ever be sent there."""
    if why := _why_not(url):
        raise Invalid.at("/url", why, code="webhook_url")


def _why_not(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL: give one such as https://example.com/hook"
    if not url.isascii() or any(character <= " " for character in url) or not host:
        return "give a URL in ASCII, with a host, such as https://example.com/hook"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "leave out user, password and fragment: messages are signed, and prove by that where they come from"
    if forbidden := _forbidden(parts, host):
        return forbidden
    if re.fullmatch(FORM.replace("https", "https?", 1), url) is None:
        return "it holds characters that no URL has; write them as percent and two digits, such as %20 for a space"
    return ""


def _forbidden(parts: SplitResult, host: str) -> str:
    inside = settings().webhooks_private_hosts
    if parts.scheme not in ({"https", "http"} if inside else {"https"}):
        return "the scheme must be https"
    address = _address(host)
    if not inside and (host.rstrip(".").lower() == "localhost" or (address is not None and not is_public(address))):
        return "the host must be on the public internet; DISTILLERY_WEBHOOKS_PRIVATE_HOSTS allows others"
    return ""


def _address(host: str) -> str | None:
    """The address that a host is, also where it is written as a number or in octal; None of a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None
