"""What notation means, compared with the engines that play it: TidalCycles 1.7.10 and Strudel 1.2.6.

The patterns are random and valid, and the seed is fixed. An engine has all of them in one process.
"""

from fractions import Fraction

import numpy as np
import pytest

from engines.engines import Onsets, ask_strudel, ask_tidal, missing_strudel, missing_tidal, rounded
from engines.generator import Notation
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.io.notation import samples_of, to_strudel, to_tidal
from hypermeter.io.notation.mini import parse_mini
from hypermeter.io.notation.pattern import Event
from hypermeter.io.notation.source import Source
from hypermeter.io.notation.strudel import read_strudel
from hypermeter.io.notation.tidal import read_tidal

CYCLES = 48, 52
"""The first cycle, and the one after the last. Signals and `every` of the engines differ before the cycle 0."""
LONGEST = 150
MINIS = 3000
CODES = 1500
GROOVES = 200

with_tidal = pytest.mark.skipif(bool(missing_tidal()), reason=missing_tidal())
with_strudel = pytest.mark.skipif(bool(missing_strudel()), reason=missing_strudel())


def onsets_of(events: list[Event]) -> Onsets:
    rows = []
    for event in events:
        values = event.value if isinstance(event.value, dict) else {"word": event.value}
        rows.append((event.begin, rounded({name: word.text for name, word in values.items()})))
    return sorted(rows, key=str)


def compare(texts, engine, read):
    """Assert that we read as many texts as the engine plays, and return the number of texts and of onsets."""
    assert len(engine) == len(texts)
    compared, onsets, differences = 0, 0, []
    for text, played in zip(texts, engine, strict=True):
        assert not isinstance(played, str), f"the generator made an invalid pattern: {text}: {played}"
        try:
            ours = onsets_of(read(text).onsets(*map(Fraction, CYCLES)))
        except HypermeterError as error:
            if "more than 1024 sounds" in str(error):
                continue
            ours = str(error)
        compared += 1
        onsets += len(played)
        if ours != played:
            differences.append((text, played, ours))
    print(f"{compared} of {len(texts)} patterns compared, {onsets} onsets")
    assert not differences, (len(differences), min(differences, key=lambda row: len(row[0])))
    return compared, onsets


def generated(make, number, is_strudel):
    """Return so many different patterns of a generator."""
    notation, texts = Notation(0, is_strudel), {}
    while len(texts) < number:
        text = make(notation)
        if len(text) <= LONGEST:
            texts[text] = None
    return list(texts)


@pytest.mark.slow
@with_tidal
def test_what_is_read_of_tidal_is_what_it_plays(tmp_path):
    minis, codes = generated(Notation.mini, MINIS, False), generated(Notation.tidal, CODES, False)
    played_minis, played_codes = ask_tidal(minis, codes, CYCLES, tmp_path)
    compared, onsets = compare(minis, played_minis, parse_mini)
    assert compared >= 0.99 * MINIS and onsets > 20 * MINIS
    compared, onsets = compare(codes, played_codes, lambda code: read_tidal(Source(f"d1 $ {code}", "code")).pattern)
    assert compared == CODES and onsets > 20 * CODES


@pytest.mark.slow
@with_strudel
def test_what_is_read_of_strudel_is_what_it_plays():
    minis, codes = generated(Notation.mini, MINIS, True), generated(Notation.strudel, CODES, True)
    played_minis, played_codes = ask_strudel(minis, codes, CYCLES)
    compared, onsets = compare(minis, played_minis, lambda text: parse_mini(text, rotates_right=True))
    assert compared >= 0.99 * MINIS and onsets > 20 * MINIS
    compared, onsets = compare(codes, played_codes, lambda code: read_strudel(Source(code, "code")).pattern)
    assert compared == CODES and onsets > 20 * CODES


def grooves():
    """Return random grooves that differ in length, kit, grid, density and shift."""
    made = []
    for seed in range(GROOVES):
        random = np.random.default_rng(seed)
        grid = (Grid(), Grid(3), Grid(2, 6, 2, 8), Grid(4, 7, 4, 8), Grid(6, 3))[seed % 5]
        kit = ("gm10", "magenta9", "gm")[seed % 3]
        shape = int(random.integers(1, 5)) * grid.steps_per_bar, load_kit(kit).num_voices
        hits = random.random(shape) < random.choice([0.02, 0.1, 0.4])
        hits[-1, 0] = 1
        offset = np.where(hits, random.uniform(-0.5, 0.49, shape), 0)
        velocity = np.where(hits, random.integers(1, 5, shape) / 4, 0)
        shift = float(random.uniform(-0.5, 0.49)) if seed % 2 else 0.0
        made.append(Groove(hits, velocity, offset, float(random.integers(60, 200)), kit, grid, shift=shift))
    return made


def played_by(groove):
    """Return the onsets of a groove that code has to play, over all cycles that are asked for."""
    size, samples = groove.grid.steps_per_bar, samples_of(load_kit(groove.kit))
    rows = []
    for cycle in range(*CYCLES):
        bar = cycle % groove.num_bars
        for step, voice in np.argwhere(groove.hits[bar * size : (bar + 1) * size]):
            cell = bar * size + step, voice
            name, _, number = samples[voice].partition(":")
            nudge = (float(groove.offset[cell]) + groove.shift) * groove.step_duration_s
            values = {"s": name, "gain": float(groove.velocity[cell]), **({"n": int(number)} if number else {})}
            rows.append((Fraction(cycle) + Fraction(int(step), size), rounded(values), nudge))
    return sorted(rows, key=lambda row: str(row[:2]))


def assert_plays(onsets, groove, code):
    assert not isinstance(onsets, str), (onsets, code)
    wanted = played_by(groove)
    rows = []
    for time, values in onsets:
        others = {name: value for name, value in values if name != "nudge"}
        rows.append((time, tuple(others.items()), dict(values)["nudge"]))
    rows.sort(key=lambda row: str(row[:2]))
    assert [row[:2] for row in rows] == [row[:2] for row in wanted], code
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in wanted], atol=2.1e-4, err_msg=code)


@pytest.mark.slow
@with_tidal
def test_what_is_written_for_tidal_is_played_so(tmp_path):
    made = grooves()
    codes = [to_tidal(groove, with_timing=True) for groove in made]
    _, played = ask_tidal([], [code.partition("d1 $ ")[2] for code in codes], CYCLES, tmp_path)
    assert len(played) == GROOVES
    for onsets, groove, code in zip(played, made, codes, strict=True):
        assert_plays(onsets, groove, code)


@pytest.mark.slow
@with_strudel
def test_what_is_written_for_strudel_is_played_so():
    made = grooves()
    codes = [to_strudel(groove, with_timing=True) for groove in made]
    _, played = ask_strudel([], codes, CYCLES)
    assert len(played) == GROOVES
    for onsets, groove, code in zip(played, made, codes, strict=True):
        assert_plays(onsets, groove, code)
