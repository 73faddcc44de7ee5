"""A real browser opens the docs page without a network, runs the example of POST /jobs as it stands, and gets a 201."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, expect, sync_playwright

from tests.api.conftest import Doors
from tests.api.made import Made, Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


class Visit:
    """A page, the requests that it tried to make beyond this machine, and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.strayed: list[str] = []
        self.complaints: list[str] = []
        page.route("**/*", self._only_here)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _only_here(self, route: Route) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme == "data" or parts.hostname == "127.0.0.1":
            route.continue_()
        else:
            self.strayed.append(route.request.url)
            route.abort()

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)


@pytest.fixture
def visit() -> Iterator[Visit]:
    # As root and in a container chromium's own sandbox cannot start; the page is ours.
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(60_000)
        yield Visit(page)
        browser.close()


def test_the_example_of_a_job_runs_from_the_page(visit: Visit, server: Server, made: Made, tmp_path: Path) -> None:
    made.teacher()
    made.dataset()
    page = visit.page
    page.goto(f"{server.url}/docs")
    job = page.locator("#operations-jobs-create_job")
    job.locator(".opblock-summary-control").click()
    job.get_by_role("button", name="Try it out").click()
    job.get_by_role("button", name="Execute").click()
    answer = job.locator(".live-responses-table")
    expect(answer.locator("tr.response td.response-col_status")).to_contain_text("201")
    expect(answer).to_contain_text('"status": "queued"')
    job.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "docs.png", full_page=True)
    assert (tmp_path / "docs.png").stat().st_size > 10_000
    assert visit.strayed == []
    assert visit.complaints == []
    assert [item["status"] for item in made.api.get("/jobs").json()["items"]] == ["queued"]


def test_the_authorize_button_works(visit: Visit, server: Server, doors: Doors) -> None:
    client = doors("vision")
    made = Made(client)
    teacher = made.teacher()
    made.dataset()
    page = visit.page
    page.goto(f"{server.url}/docs")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_role("textbox").fill(client.headers["authorization"].removeprefix("Bearer "))
    with page.expect_response("**/openapi.json"):  # anew: its examples name what the caller has
        dialog.locator("button.authorize").click()
    dialog.locator("button.btn-done").click()
    job = page.locator("#operations-jobs-create_job")
    job.locator(".opblock-summary-control").click()
    job.get_by_role("button", name="Try it out").click()
    expect(job.locator("textarea").first).to_contain_text(teacher)
    job.get_by_role("button", name="Execute").click()
    answer = job.locator(".live-responses-table")
    expect(answer.locator("tr.response td.response-col_status")).to_contain_text("201")
    assert visit.strayed == []
    assert visit.complaints == []
    assert [item["status"] for item in client.get("/jobs").json()["items"]] == ["queued"]


def test_the_page_of_errors_leads_to_a_code(visit: Visit, server: Server, tmp_path: Path) -> None:
    visit.page.goto(f"{server.url}/docs/errors#class_count_differs")
    expect(visit.page.locator("#class_count_differs")).to_be_in_viewport()
    visit.page.screenshot(path=tmp_path / "errors.png")
    assert visit.strayed == []
    assert visit.complaints == []
