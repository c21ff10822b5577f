"""The built book and a browser that may ask nothing of any other machine."""

import shutil
import threading

import pytest

from tests.book import shared
from vislab.batch.book import server

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return shared.folder(tmp_path_factory)


@pytest.fixture(scope="session")
def html(place, tmp_path_factory):
    """The folder of the built pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISLAB_RESULTS", str(shared.results(place)))
        patch.setenv("VISLAB_RUNS", str(place / "runs"))
        return shared.pages(place)


@pytest.fixture(scope="session")
def base(html):
    """The address of the pages on this machine."""
    found = server(html)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}/"
    found.shutdown()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("the pages' tests need chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


class Visit:
    """A browser's page that notes errors of the console, failed files and requests to other machines, and refuses the latter."""

    def __init__(self, page, base: str):
        self.page, self.base = page, base
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("response", lambda r: self.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.route("**/*", self._route)

    def _route(self, route):
        if route.request.url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def go(self, name: str):
        self.page.goto(self.base + name, wait_until="load")
        return self.page

    def clean(self) -> None:
        """Assert that nothing went wrong and nothing was asked of another machine."""
        assert not self.outside, f"asked for {self.outside}"
        assert not self.errors, self.errors


@pytest.fixture
def visit(browser, base):
    """A fresh page of the browser, checked at the end."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = Visit(page, base)
    yield found
    page.close()
    found.clean()
