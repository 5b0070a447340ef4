"""The page in a real browser, for the tests that use it: import its fixtures with ``Session``."""

import base64
import functools
import http.server
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "src" / "hypermeter" / "page"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}
DEFAULTS = {"accept_downloads": True, "service_workers": "block"}
"""Of contexts: without a service worker, which would answer in place of the test's host."""
FORGET = "() => indexedDB.deleteDatabase('hypermeter')"
"""For pages of a shared context: each begins as the first that its browser sees."""
NOTHING = {"hits": [], "velocity": [], "offset": [], "tempo": 120}

ENGINE = """async ([where, kind, request_of]) => {
    let { hits, velocity, offset, openness, strokes, tempo, grid, asked, known, some, ...options } = request_of
    const engine = where === 'page' ? hypermeter.engine : hypermeter.app.engine
    const song = {
        hits: Uint8Array.from(hits), velocity: Float32Array.from(velocity), offset: Float32Array.from(offset), tempo,
        grid: grid ?? hypermeter.app.meta.grid,
        openness: Float32Array.from(openness ?? hits.map(() => null), (value) => value ?? NaN),
        strokes: new Map(strokes ?? []),
    }
    const withNull = (all) => [...all].map((value) => Number.isNaN(value) ? null : value)
    if (asked) asked = { labels: asked.labels, numbers: asked.numbers.map((value) => value ?? NaN) }
    const request = { topP: 1, guidance: 0, bias: null, asked: asked ?? null, ...options, song }
    if (kind === 'infill') {
        const locks = { known: Uint8Array.from(known), some: some ? Uint8Array.from(some) : null }
        const { part, smallest } = await engine.infill({ ...request, ...locks })
        const { hits, velocity, offset } = part
        return { hits: [...hits], velocity: [...velocity], offset: [...offset], smallest }
    }
    const parts = []
    await engine.continue(request, (_, part) => parts.push(part))
    const all = (name) => parts.flatMap((part) => [...part[name]])
    const moved = ({ strokes }, bar) => [...strokes].map(([cell, own]) => [cell + bar * parts[0].hits.length, own])
    return {
        hits: all('hits'), velocity: all('velocity'), offset: all('offset'), openness: withNull(all('openness')),
        strokes: parts.flatMap(moved),
    }
}"""


class Host(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class UnpackingHost(Host):
    """Says of .gz files that they are packed on the way, as some hosts do: the browser then unpacks them."""

    def end_headers(self):
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()


def serving(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(PAGE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def host():
    server = serving(Host)
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    name, path = os.environ.get("HYPERMETER_BROWSER"), None
    if not name and (path := shutil.which("chromium")) is None:
        pytest.skip("needs chromium, or a browser of playwright that HYPERMETER_BROWSER names")
    with sync_api.sync_playwright() as playwright:
        kind = playwright[name or "chromium"]
        browser = kind.launch(executable_path=path, headless=True, args=ARGS if kind.name == "chromium" else [])
        yield browser
        browser.close()


class Session:
    """A page, and its errors and the hosts of its requests while it is open.

    Args:
        browser: opens a context for the page.
        url: of the page.
        init: JavaScript function that runs before the page's own.
        context: an open context, whose cache spares the page its downloads; it stays open.
        keeps: whether songs are kept in that context, from page to page.
        options: of a context of its own.
    """

    def __init__(self, browser, url, init="() => undefined", context=None, keeps=False, **options):
        if browser.browser_type.name == "firefox":
            options.pop("is_mobile", None)  # playwright has it for the two other browsers only
        self.is_shared = context is not None
        self.context = context or browser.new_context(
            **{"viewport": DESK, "accept_downloads": True, "service_workers": "block", **options}
        )
        self.page, self.url = self.context.new_page(), url
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.context.on("request", lambda sent: self.hosts.add(sent.url.split("/")[2] if "//" in sent.url else ""))
        self.page.add_init_script(f"({init})()")
        if self.is_shared and not keeps:
            self.page.add_init_script(f"({FORGET})()")
        self.page.goto(url)

    def _hear(self, message):
        is_ours = message.text != "Service Worker registration blocked by Playwright"
        if message.type in ("error", "warning") and is_ours:
            self.errors.append(message.text)

    def until(self, expression, timeout_s=60.0):
        """Waits for an expression to be true: playwright's own way evaluates strings, which the page forbids."""
        end = time.monotonic() + timeout_s
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"{expression}; the page says {self.page.inner_text('#status')!r}"
            self.page.wait_for_timeout(20)

    def ready(self):
        self.until("() => !!window.hypermeter")
        self.page.evaluate("() => hypermeter.engine.ready")
        self.page.wait_for_timeout(50)
        return self

    def idle(self):
        self.page.wait_for_timeout(30)
        self.until("() => !hypermeter.app.busy")
        self.page.wait_for_timeout(50)

    def click(self, *ids):
        for name in ids:
            self.page.click(f"#{name}")
        self.idle()

    def select(self, first, last):
        """Select bars [first, last)."""
        self.page.evaluate("(bars) => hypermeter.app.select(...bars)", [first, last])
        self.page.wait_for_timeout(40)

    def says(self, start, timeout_s=10.0):
        """Wait until the status line begins so, and return it."""
        self.until(f"() => document.getElementById('status').innerText.startsWith({start!r})", timeout_s)
        return self.page.inner_text("#status")

    def save_wav(self, path, **choices):
        """Save the song as sound, with choices by the ends of their ids, and return the name of the file."""
        self.page.click("#save-wav")
        for name, value in choices.items():
            self.page.locator(f"#export-{name}").select_option(value)
        with self.page.expect_download() as caught:
            self.page.click("#export-save")
        caught.value.save_as(path)
        return caught.value.suggested_filename

    def link(self):
        """Copy the link, and return it."""
        self.page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text } }")
        self.page.click("#share")
        self.says("The link is copied")
        return self.page.evaluate("() => window.copied")

    def song(self):
        return self.page.evaluate(
            """() => { const s = hypermeter.app.song
                return { hits: [...s.hits], velocity: [...s.velocity], offset: [...s.offset], locked: [...s.locked],
                         tempo: s.tempo, bars: hypermeter.app.bars, asks: s.asks,
                         openness: [...s.openness].map((value) => Number.isNaN(value) ? null : value),
                         strokes: [...s.strokes].flatMap(([cell, own]) => own.map(
                             ({ offset, velocity }) => [cell, offset, velocity])).sort((a, b) => a[0] - b[0]) } }"""
        )

    @property
    def hits(self):
        return np.array(self.song()["hits"], np.uint8).reshape(-1, 10)

    def cell(self, voice, step):
        return self.page.locator("#grid [role=row]:not(.head)").nth(voice).locator("[role=gridcell]").nth(step)

    def play(self, kind, request, where="page"):
        """Return what an engine gives: ``continue`` or ``infill``, in the page or where the page has it done."""
        result = self.page.evaluate(ENGINE, [where, kind, request])
        for name in ("hits", "velocity", "offset"):
            result[name] = np.array(result[name]).reshape(-1, 10)
        return result

    def render(self):
        """(2, samples) of the song as it is, through the page's own audio graph."""
        coded = self.page.evaluate(
            """async () => {
                const sides = await hypermeter.sound.render()
                const reader = new FileReader()
                return new Promise((resolve) => {
                    reader.onload = () => resolve(reader.result.split(',')[1])
                    reader.readAsDataURL(new Blob(sides))
                })
            }"""
        )
        return np.frombuffer(base64.b64decode(coded), np.float32).reshape(2, -1)

    def close(self):
        errors, hosts = self.errors, self.hosts - {self.url.split("/")[2], ""}
        (self.page if self.is_shared else self.context).close()
        assert not errors, errors
        assert not hosts, f"requests to other hosts: {hosts}"


@pytest.fixture(scope="module")
def shared_context(chromium):
    """A context for all pages of a file, which keep nothing there but the cache."""
    context = chromium.new_context(viewport=DESK, **DEFAULTS)
    yield context
    context.close()


@pytest.fixture
def opened(chromium, host, shared_context):
    session = Session(chromium, host, context=shared_context).ready()
    yield session
    session.close()
