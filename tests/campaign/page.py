"""Links of the page, read by its own code in Node."""

import base64
import json
import subprocess
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from .odd import ODD_TEXTS, encoded, mutated
from .reader import Reader, check

WEB = Path(__file__).parents[2] / "web"
BARS, CELLS = 2, 2 * 16 * 10

_PROGRAM = """
import readline from 'node:readline'
const { fromHash, ShareError } = await import(process.argv[2])
const meta = { num_drums: 10, grid: { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 },
  serves_every_grid: true, labels: null }
const isWithin = (value, least, most) => value >= least && value <= most
for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer
  try {
    const found = await fromHash(JSON.parse(line), meta, 256)
    answer = { outcome: 'read', wrong: '' }
    if (found) {
      const { hits, velocity, offset, strokes, tempo, openness, shift } = found.song
      hits.forEach((hit, cell) => {
        const isRight = isWithin(velocity[cell], 1e-9, 1) && isWithin(offset[cell], -0.5, 0.4999)
        if (hit && !isRight) answer.wrong = `cell ${cell}`
        if (!Number.isNaN(openness[cell]) && !isWithin(openness[cell], 0, 1)) answer.wrong = `openness ${cell}`
      })
      for (const own of strokes.values()) for (const stroke of own) {
        if (!(isWithin(stroke.velocity, 1e-9, 1) && isWithin(stroke.offset, -0.5, 0.4999))) answer.wrong = 'a stroke'
      }
      if (!isWithin(tempo, 20, 400) || !isWithin(shift, -0.5, 0.5)) answer.wrong = 'tempo or shift'
    }
  } catch (error) {
    answer = { outcome: error instanceof ShareError ? 'refused' : 'found', wrong: String(error).slice(0, 200) }
  }
  console.log(JSON.stringify(answer))
}
"""


def make_link(random: Random) -> bytes:
    """Return the text of a link: of a song by its layout, of other bytes, or of no song."""
    if random.random() < 0.05:
        return encoded(random.choice(("song=", "")) + random.choice(ODD_TEXTS))
    hits = [random.random() < 0.1 for _ in range(CELLS)]
    tempo, is_odd = random.choice((2000, 12000, 40000, 65535)), random.random() < 0.5

    def byte(least: int, most: int) -> int:
        return random.randrange(256) if is_odd and random.random() < 0.02 else random.randint(least, most)

    second = random.random() < 0.5
    head = [2, 10, 4, 4, 4] if second else [1, 10, 16]
    song = [*head, 0, BARS, tempo >> 8, tempo & 255, byte(0, 100), 0, 0]
    song += [sum(hit << bit for bit, hit in enumerate(hits[at : at + 8])) for at in range(0, CELLS, 8)] + [0] * (
        CELLS // 8
    )
    for _ in filter(None, hits):
        song += [byte(1, 127), byte(0, 63)]
    song += [byte(0, 5), byte(0, 5), byte(0, 2), byte(0, 250)] * BARS
    if second:
        song += [128, 0]
        places = random.sample([cell for cell, hit in enumerate(hits) if hit], min(sum(hits), random.randrange(4)))
        song += [0, 0, len(places)]
        for cell in places:
            song += [0, cell >> 8, cell & 255, byte(0, 63), byte(1, 127)]
        song += [1] + [byte(0, 127) for _ in filter(None, hits)]
    content = bytes(song)
    if random.random() < 0.3:
        content = mutated(random, content)
    packer = zlib.compressobj(wbits=-15)
    text = base64.urlsafe_b64encode(packer.compress(content) + packer.flush()).rstrip(b"=")
    return b"song=" * (random.random() < 0.9) + (mutated(random, text) if random.random() < 0.1 else text)


@cache
def _module() -> Path:
    """Return the page's code for links as a module of Node, built anew."""
    out = WEB.parent / "build" / "campaign" / "share.mjs"
    out.parent.mkdir(parents=True, exist_ok=True)
    output = {"output": {"entryFileNames": out.name}}
    built = {"ssr": "src/share.ts", "outDir": str(out.parent), "emptyOutDir": False, "rollupOptions": output}
    options = json.dumps({"configFile": False, "logLevel": "error", "build": built})
    subprocess.run(["node", "-e", f"import('vite').then((vite) => vite.build({options}))"], cwd=WEB, check=True)
    return out


@cache
def _node() -> Any:
    program = _module().with_name("links.mjs")
    program.write_text(_PROGRAM)
    return subprocess.Popen(
        ["node", str(program), str(_module())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def read_link(content: bytes, folder: Path) -> None:
    """Read a link: a song of it is as one of the editor."""
    from hypermeter.core.errors import HypermeterError

    node = _node()
    node.stdin.write(json.dumps(content.decode("utf-8", "replace")) + "\n")
    node.stdin.flush()
    answer = json.loads(node.stdout.readline())
    if answer["outcome"] == "refused":
        raise HypermeterError(answer["wrong"])
    check(answer["outcome"] == "read" and not answer["wrong"], answer["wrong"])


def _needs_node() -> None:
    _module()


READERS = (Reader("links", make_link, read_link, 1, _needs_node),)
