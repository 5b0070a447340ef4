"""The pages that ``make docs`` builds: strictly, whole, and with nothing fetched from elsewhere."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
FETCHING = {
    "script": "src",
    "img": "src",
    "audio": "src",
    "source": "src",
    "video": "src",
    "iframe": "src",
    "embed": "src",
}
RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "prefetch", "modulepreload", "manifest"}


class Page(HTMLParser):
    """What a page fetches, what it links to, and the names that links can end in."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.names = [], [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.names |= {attributes.get("id"), attributes.get("name")} - {None}
        if tag in FETCHING and attributes.get(FETCHING[tag]):
            self.fetched.append(attributes[FETCHING[tag]])
        if tag == "link" and RELATIONS & set(attributes.get("rel", "").split()):
            self.fetched.append(attributes["href"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    if not (find_spec("mkdocs") and find_spec("material") and find_spec("mkdocstrings")):
        pytest.skip("needs mkdocs-material and mkdocstrings: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


@pytest.mark.slow
def test_every_document_is_a_page_of_the_menu(site):
    menu = {urlsplit(link).path for link in Page(site / "index.html").links}
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in menu, path
    assert {"benchmarks.html", "changelog.html", "contributing.html"} <= menu


@pytest.mark.slow
def test_pages_fetch_scripts_styles_fonts_and_pictures_from_the_site_alone(site, pages):
    for path, page in pages.items():
        assert page.fetched
        for target in page.fetched:
            parts = urlsplit(target)
            assert not parts.netloc and parts.scheme in ("", "data"), f"{path.name} fetches {target}"
            if not parts.scheme:
                assert (path.parent / unquote(parts.path)).is_file(), (
                    f"{path.name} fetches {target}, which is not there"
                )
    for path in site.rglob("*.css"):
        text = path.read_text("utf-8")
        assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", text), path.name


@pytest.mark.slow
def test_links_within_the_site_lead_to_a_place_that_is_there(site, pages):
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name} links to {link}"
            if parts.fragment and target in pages and not parts.fragment.startswith("__"):
                assert unquote(parts.fragment) in pages[target].names, f"{path.name} links to {link}"


@pytest.mark.slow
def test_the_api_tells_of_functions_and_what_they_take_and_raise(site):
    files = (site / "api" / "files.html").read_text("utf-8")
    for name in (
        "hypermeter.io.notation.read.from_tidal",
        "hypermeter.io.midi.read.read_midi",
        "hypermeter.share.pictures.plot",
    ):
        assert f'id="{name}"' in files
    assert "HypermeterError" in files and "seconds to four decimals" in files
    assert 'id="hypermeter.model.hierarchical.HierarchicalDrumModel"' in (site / "api" / "model.html").read_text(
        "utf-8"
    )


@pytest.mark.slow
def test_the_sound_of_the_first_page_is_small(site):
    (sound,) = (address for address in Page(site / "index.html").fetched if address.startswith("audio/"))
    assert 50_000 < (site / sound).stat().st_size < 300_000


@pytest.mark.slow
def test_a_browser_asks_only_the_host_of_the_site(site):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or find_spec("playwright") is None:
        pytest.skip("needs Chromium and playwright")
    from playwright.sync_api import sync_playwright

    class Host(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    urls, errors = set(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("request", lambda request: urls.add(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            for name in ("how_it_works", "api/grooves", "index"):
                page.goto(f"{address}/{name}.html", wait_until="load")
            seconds = page.evaluate(
                "async () => { const a = document.querySelector('audio'); a.preload = 'auto'; a.load();"
                " await new Promise((done, fail) => { a.oncanplaythrough = done; a.onerror = fail });"
                " return a.duration }"
            )
            page.click("input.md-search__input")
            page.keyboard.type("velocity", delay=20)
            page.wait_for_selector(".md-search-result__link", timeout=90_000)
            browser.close()
        server.shutdown()
    assert not errors
    assert urls and all(url.startswith((address, "data:", "blob:")) for url in urls), urls
    assert 10 < seconds < 60
