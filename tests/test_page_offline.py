"""The page in a real browser: without a network, as an app, with a new version, and opened as a file."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import functools
import http.server
import json
import shutil
import threading

import pytest

from browsing import DESK, PAGE, Host, Session, chromium

pytestmark = pytest.mark.slow
api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
HAS_ALL = """async () => {
    return !!navigator.serviceWorker.controller && !!(await caches.match(location.href + 'complete'))
}"""


class OwnHost:
    """A host of a copy of the page, which can go down, and come back at the same address."""

    def __init__(self, folder):
        self.folder, self.port = folder, 0
        shutil.copytree(PAGE, folder)
        self.up()

    def up(self):
        handler = functools.partial(Host, directory=str(self.folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def own(tmp_path):
    own = OwnHost(tmp_path / "page")
    yield own
    own.down()


@pytest.fixture
def session(chromium, own):
    """The page, when it is kept for times without a network."""
    context = chromium.new_context(viewport=DESK)
    session = Session(chromium, own.url, context=context, keeps=True).ready()
    session.until(HAS_ALL)
    yield session
    session.close()
    context.close()


def reload(session):
    session.page.reload()
    session.ready()


def test_it_works_after_a_reload_without_a_network(session, own):
    session.cell(9, 1).click()
    session.page.wait_for_timeout(600)
    own.down()
    reload(session)
    session.click("bars-4", "continue")
    assert session.song()["bars"] == 8 and session.hits[1, 9] == 1
    assert session.page.locator("#update").is_hidden()
    own.up()


def test_a_new_version_tells_and_counts_after_a_reload(session, own):
    version = "() => document.querySelector('meta[name=version]')?.content"
    assert session.page.evaluate(version) is None
    index = own.folder / "index.html"
    index.write_text(index.read_text().replace("<head>", '<head><meta name="version" content="2" />'))
    reload(session)
    assert session.page.evaluate(version) is None  # that which is kept opens at once
    session.until("() => !document.getElementById('update').hidden")
    session.page.click("#reload")
    session.ready()
    assert session.page.evaluate(version) == "2"
    own.down()
    reload(session)
    assert session.page.evaluate(version) == "2" and session.page.locator("#update").is_hidden()
    own.up()


def test_another_model_is_a_new_version(session, own):
    meta = own.folder / "model" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"name": "mine"}))
    reload(session)
    assert session.page.evaluate("() => hypermeter.app.meta.name") == "groove"
    session.until("() => !document.getElementById('update').hidden")
    reload(session)
    assert session.page.evaluate("() => hypermeter.app.meta.name") == "mine"


def test_a_host_that_has_only_half_of_a_new_version_changes_nothing(session, own):
    (own.folder / "page.css").unlink()
    index = own.folder / "index.html"
    index.write_text(index.read_text().replace("<head>", "<head><!-- new -->"))
    reload(session)
    session.page.wait_for_timeout(1000)
    assert session.page.locator("#update").is_hidden()
    assert session.page.evaluate("async () => (await caches.keys()).length") == 1
    session.errors.clear()  # the file that was not found


def test_another_program_at_the_address_is_let_through(session, own):
    (own.folder / "index.html").write_text("<!doctype html><title>Another program</title>")
    session.page.reload()
    api.expect(session.page).to_have_title("Another program", timeout=20_000)
    assert session.page.evaluate("async () => (await caches.keys()).length") == 0
    session.errors.clear()  # it has no icon


def test_it_can_be_installed(session):
    if session.context.browser.browser_type.name != "chromium":
        pytest.skip("asks Chromium's protocol")
    protocol = session.context.new_cdp_session(session.page)
    found = protocol.send("Page.getAppManifest")
    assert found["errors"] == [] and found["url"] == session.url + "manifest.json"
    manifest = json.loads(found["data"])
    assert manifest["display"] == "standalone" and manifest["name"] == "Hypermeter"
    for icon in manifest["icons"]:
        assert (PAGE / icon["src"]).is_file()
    errors = protocol.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [each for each in errors if each["errorId"] != "in-incognito"] == []


def test_opened_as_a_file_it_says_what_to_do(chromium):
    context = chromium.new_context(viewport=DESK)
    page = context.new_page()
    page.goto((PAGE / "index.html").as_uri())
    text = page.inner_text("body")
    assert text.startswith("This page needs a host") and f"python -m http.server -d {PAGE}/" in text
    assert "hypermeter serve" in text and page.locator("#play").is_hidden()
    assert page.evaluate("() => getComputedStyle(document.body).margin") == "0px"  # its stylesheet is there
    context.close()
