"""A blind listening test of two systems: pairs of WAV files and a page for listeners, and what their answers say.

    python benchmarks/quality/listening.py make A B OUT [--pairs 20] [--bars 8] [--seed 0]
    python benchmarks/quality/listening.py count OUT ANSWERS.json ...

A and B are folders of MIDI or .npz, such as people's and a model's. ``make`` draws as many pieces from each, cuts them
to the same number of bars, makes them equally loud, and writes OUT/listeners, which is handed out: ``index.html``,
which needs no network, and ``audio``. OUT/key.json tells which is which and stays at home. Who is first in a pair is
random, each equally often; the page shows the pairs in random order, and a listener saves the answers as a file.

``count`` tells how often B was chosen, its 95 % interval (Clopper-Pearson) and the exact two-sided binomial test of
chance; and how many listeners chose B more often than A. Answers of one listener, and to one pair, are not independent:
with few listeners, trust the count of listeners.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.groove import Groove
from hypermeter.io.grooves import read_grooves
from hypermeter.share.sound import render_wav

PAGE = Path(__file__).with_name("listening.html")
SIDES = ("first", "second")
HEADROOM_DB = -8.0
"""Below -16 LUFS, so that no file clips, which would be lowered by itself."""
QUESTION = "Which of the two sounds more like a person playing?"


def pieces_of(folder: Path, pairs: int, bars: int, random: np.random.Generator) -> list[tuple[str, Groove]]:
    """Return the name and the first bars of pieces that are drawn from a folder, each of another file.

    Raises:
        HypermeterError: fewer pieces of so many bars there.
    """
    long = [
        (name, groove)
        for name, groove, _ in read_grooves(folder, rejects=[])
        if len(groove) >= bars * groove.grid.steps_per_bar
    ]
    if len(long) < pairs:
        raise HypermeterError(
            f"{folder}: {len(long)} pieces of {bars} bars or more, expected {pairs}; lower --pairs or --bars"
        )
    chosen = random.permutation(len(long))[:pairs]
    return [(long[number][0], long[number][1].bars(0, bars)) for number in chosen]


def make(
    a: tyro.conf.Positional[Path],
    b: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    pairs: int = 20,
    bars: int = 8,
    seed: int = 0,
    question: str = QUESTION,
) -> None:
    """Write a listening test.

    Args:
        a, b: folders of music.
        out: folder to write; it must not be there yet.
        pairs: number of pairs.
        bars: of each piece.
        seed: of what is drawn.
        question: that listeners are asked.
    """
    if pairs < 1 or bars < 1:
        raise HypermeterError(f"pairs is {pairs} and bars is {bars}, expected at least 1")
    if out.exists():
        raise HypermeterError(f"{out}: it is there already; name a new folder")
    random = np.random.default_rng(seed)
    pieces = [pieces_of(folder, pairs, bars, random) for folder in (a, b)]
    is_b_first = random.permutation(np.arange(pairs) % 2 == 1)
    audio = out / "listeners" / "audio"
    audio.mkdir(parents=True)
    key: dict[str, Any] = {}
    for number in range(pairs):
        name = f"{number + 1:03d}"
        sides = SIDES[::-1] if is_b_first[number] else SIDES
        key[name] = {"a": sides[0], "b": sides[1], "pieces": [system[number][0] for system in pieces]}
        for side, system in zip(sides, pieces, strict=True):
            path = audio / f"{name}-{side}.wav"
            render_wav(system[number][1], path, is_mono=True, normalize="loudness", gain_db=HEADROOM_DB)
        print(f"pair {number + 1} of {pairs}", file=sys.stderr)
    kit_id = f"{random.integers(2**32):08x}"
    page = PAGE.read_text("utf-8").replace(
        "KIT", _in_html({"id": kit_id, "question": question, "pairs": sorted(key)}), 1
    )
    for path, text in (
        (out / "listeners" / "index.html", page),
        (out / "key.json", json.dumps({"kit": kit_id, "a": str(a), "b": str(b), "seed": seed, "pairs": key}, indent=1)),
    ):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"hand out {out / 'listeners'}; keep {out / 'key.json'}")


def _in_html(value: Any) -> str:
    """Return a value as JSON that no HTML parser takes for markup."""
    return json.dumps(value).replace("<", "\\u003c")


def binomial_test(successes: int, number: int) -> float:
    """Return the exact two-sided p of ``successes`` or something as unlikely, of ``number`` at chance."""
    ways = [math.comb(number, count) for count in range(number + 1)]
    return sum(way for way in ways if way <= ways[successes]) / 2**number


def clopper_pearson(successes: int, number: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, by bisection of the binomial's tails."""

    def tail(share: float, counts: range) -> float:
        return sum(math.comb(number, count) * share**count * (1 - share) ** (number - count) for count in counts)

    def solve(counts: range, rises: bool) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            is_above = tail(middle, counts) > (1 - level) / 2
            low, high = (low, middle) if is_above == rises else (middle, high)
        return (low + high) / 2

    lower = solve(range(successes, number + 1), True) if successes else 0.0
    upper = solve(range(successes + 1), False) if successes < number else 1.0
    return lower, upper


def read_answers(path: Path, key: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the listener of a file, and the system that was chosen in each pair, ``a`` or ``b``.

    Raises:
        HypermeterError: not a file of answers, or to another test.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        kit, listener, answers = content["kit"], str(content["listener"]), content["answers"]
        chosen = [
            next(system for system in "ab" if key["pairs"][pair][system] == side) for pair, side in answers.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise HypermeterError(
            f"{path}: no answers to this test ({error!r:.80}); expected what the page saved"
        ) from error
    if kit != key["kit"]:
        raise HypermeterError(f"{path}: answers to test {kit}, this is {key['kit']}; count them with its own folder")
    return listener, chosen


def counted(files: Sequence[Path], key: dict[str, Any]) -> list[str]:
    """Return what answers say, a line each.

    Raises:
        HypermeterError: see ``read_answers``; two files of one listener, or no answers.
    """
    by_listener: dict[str, Counter[str]] = {}
    for path in files:
        listener, chosen = read_answers(path, key)
        if listener in by_listener:
            raise HypermeterError(f"{path}: second file of listener {listener}; leave one out")
        by_listener[listener] = Counter(chosen)
    total = sum(by_listener.values(), Counter[str]())
    number, for_b = total.total(), total["b"]
    if not number:
        raise HypermeterError("no answers in these files; expected some")
    low, high = clopper_pearson(for_b, number)
    preferred = [counts["b"] - counts["a"] for counts in by_listener.values()]
    more_b, decided = sum(more > 0 for more in preferred), sum(more != 0 for more in preferred)
    lines = [f"A: {key['a']}", f"B: {key['b']}", ""]
    lines += [f"{listener}: B in {counts['b']} of {counts.total()}" for listener, counts in sorted(by_listener.items())]
    lines += [
        "",
        f"B in {for_b} of {number} answers: {for_b / number:.3f} (95 %: {low:.3f} to {high:.3f}),"
        f" p = {binomial_test(for_b, number):.3g}",
    ]
    if decided:
        lines.append(f"B more often than A: {more_b} of {decided} listeners, p = {binomial_test(more_b, decided):.3g}")
    return lines


def count(out: tyro.conf.Positional[Path], answers: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print what answers say.

    Args:
        out: folder of the test.
        answers: files that listeners saved.
    """
    try:
        key = json.loads((out / "key.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HypermeterError(
            f"{out}: no key.json of a listening test there ({error}); name what make wrote"
        ) from error
    print("\n".join(counted(answers, key)))


if __name__ == "__main__":
    try:
        tyro.extras.subcommand_cli_from_dict({"make": make, "count": count})
    except HypermeterError as error:
        print(f"listening: {error}", file=sys.stderr)
        sys.exit(2)
