"""A real browser opens the docs page without a network, runs the example of POST /jobs as it stands, and gets a 201."""

import shutil
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


class Visit:
    """A page, and the requests that it tried to make beyond this machine."""

    def __init__(self, page: "playwright.Page") -> None:
        self.page = page
        self.strayed: list[str] = []
        self.complaints: list[str] = []
        page.route("**/*", self._only_here)
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _only_here(self, route: "playwright.Route") -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme == "data" or parts.hostname == "127.0.0.1":
            route.continue_()
        else:
            self.strayed.append(route.request.url)
            route.abort()
