"""Measure builds of the page in Chromium, one after the other: python benchmarks/page/times.py PAGE [PAGE ...]

A PAGE is a folder with a built page, such as src/hypermeter/page. For each: seconds from opening to the first sound and
to the model, for 16 bars from silence, and to fill in two bars at bar 3 and at bar 250 of a song of 256 bars, the first
and the second time; medians of some runs, and the megabytes of the folder.
"""

import argparse
import functools
import http.server
import shutil
import statistics
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ARGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]

SONG = """() => {
    const { app } = hypermeter
    const size = app.song.hits.length / app.bars
    const again = (all, Kind) => Kind.from({ length: 256 * size }, (_, cell) => all[cell % (app.bars * size)])
    const { song } = app
    app.open({
        ...song, openness: new Float32Array(256 * size).fill(NaN), strokes: new Map(),
        hits: again(song.hits, Uint8Array), velocity: again(song.velocity, Float32Array),
        offset: again(song.offset, Float32Array), locked: new Uint8Array(256 * size),
        asks: Array.from({ length: 256 }, () => ({ section: 0, style: 0, fill: 0, density: null })),
    })
}"""

FILL = """async (bar) => {
    const { app } = hypermeter
    app.select(bar - 1, bar + 1)
    const began = performance.now()
    if (!await app.fillIn()) throw new Error(app.message)
    return (performance.now() - began) / 1000
}"""

CONTINUE = """async (seed) => {
    const none = { hits: new Uint8Array(), velocity: new Float32Array(), offset: new Float32Array(), tempo: 120 }
    const began = performance.now()
    await hypermeter.engine.continue({
        seed, temperature: 1, topP: 1, bias: null, guidance: 0, asked: null, bars: 16,
        song: { ...none, grid: hypermeter.app.meta.grid, openness: new Float32Array(), strokes: new Map() },
    }, () => undefined)
    return (performance.now() - began) / 1000
}"""


class Host(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def measure(browser, folder: Path, runs: int) -> dict[str, float]:
    """Return seconds, by what they were taken for, and the size in megabytes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        page = browser.new_context().new_page()
        began = time.perf_counter()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        while not page.evaluate("() => !!window.hypermeter"):
            page.wait_for_timeout(5)
        page.evaluate("() => hypermeter.engine.ready")
        found.setdefault("model ready", []).append(time.perf_counter() - began)
        found.setdefault("16 bars, at first", []).append(page.evaluate(CONTINUE, 0))
        bars = [page.evaluate(CONTINUE, seed) for seed in range(1, 5)]
        found.setdefault("16 bars", []).append(statistics.median(bars))
        page.evaluate(SONG)
        for name, bar in (("bar 250, at first", 250), ("bar 250", 250), ("bar 3, at first", 3), ("bar 3", 3)):
            found.setdefault(f"fill in at {name}", []).append(page.evaluate(FILL, bar))
        page.context.close()
    server.shutdown()
    server.server_close()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    return {"megabytes": size} | {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=ARGS)
        results = [measure(browser, folder, options.runs) for folder in options.pages]
        browser.close()
    print(f"{'':26}" + "".join(f"{str(folder)[-24:]:>26}" for folder in options.pages))
    for name in results[0]:
        print(f"{name:26}" + "".join(f"{result[name]:26.2f}" for result in results))


if __name__ == "__main__":
    main()
