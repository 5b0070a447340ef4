"""The page plays what Python and the server play: the same seed, the same hits."""

# ruff: noqa: F401, F811  (fixtures are imported, and named as arguments)

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from browsing import NOTHING, PAGE, ROOT, Session, chromium, host
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.play.compose import continue_groove, join_grooves, replace_bars, vary_groove
from hypermeter.play.follow import follow_groove
from hypermeter.play.infill import infill
from hypermeter.play.listening import Taps
from hypermeter.play.loading import load_player
from hypermeter.play.locks import Locks
from hypermeter.play.plan import make_plan
from hypermeter.play.request import FollowOptions, InfillOptions, PlanOptions, SamplingOptions, bounds_record
from hypermeter.play.takes import draw_takes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opened(chromium, host):
    """One page for all tests of this file: an engine's answers, and a song that is set anew, depend on no other."""
    session = Session(chromium, host).ready()
    yield session
    session.close()


@pytest.fixture(scope="module")
def player():
    """The engine, straight from the checkpoint that the page's model was made from."""
    return load_player(json.loads((PAGE / "model" / "meta.json").read_text())["name"])


def some_plan(player, bars):
    fill = [bar % 4 == 3 for bar in range(bars)]
    return make_plan(player.labels, bars, style="funk", fill=fill, density=[0.1, 0.25])


def asked_of(plan):
    """Return a plan as the page has it."""
    if plan is None:
        return None
    numbers = [None if math.isnan(number) else number for number in plan.numbers[0].ravel().tolist()]
    return {"labels": plan.labels[0].ravel().tolist(), "numbers": numbers}


def song_of(hits, velocity=None, offset=None, tempo=100):
    velocity = 0.8 * hits if velocity is None else velocity
    offset = np.zeros(hits.shape) if offset is None else offset
    arrays = {"hits": hits, "velocity": velocity, "offset": offset}
    return {name: np.asarray(array).ravel().tolist() for name, array in arrays.items()} | {"tempo": tempo}


def check_played(found, expected):
    """Compare velocity and offset: arithmetic that differs in the last digit can put a hit in the bin beside."""
    for name, wanted in zip(("velocity", "offset"), expected, strict=True):
        assert np.quantile(np.abs(found[name] - wanted), 0.99) < 1e-6, name


# ---------------------------------------------------------------------- Python


@pytest.mark.parametrize("temperature", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("guidance", [None, 0.0, 1.5])
def test_the_same_seed_gives_the_hits_of_python(opened, player, temperature, guidance):
    plan = None if guidance is None else some_plan(player, 8)
    options = {"temperature": temperature, "seed": 2**32 + 7, "guidance": guidance or 0.0}
    found = opened.play("continue", {**NOTHING, **options, "bars": 8, "asked": asked_of(plan)})
    assert (found["hits"] == player.generate(128, None, SamplingOptions(**options), plan=plan)[0]).all()


def test_top_p_and_bias_are_those_of_python(opened, player):
    bias = [0, 0.5, -1, 0, 0, 0, 0, 0, 0, 1.5]
    by_voice = dict(zip(player.voices, bias, strict=True))
    for top_p in (0.9, 1.0):
        request = {**NOTHING, "bars": 16, "temperature": 1, "topP": top_p, "bias": bias, "seed": 3}
        found = opened.play("continue", request)
        assert (
            found["hits"] == player.generate(256, None, SamplingOptions(top_p=top_p, bias=by_voice, seed=3))[0]
        ).all()


def test_the_tempo_by_itself_is_not_guided(opened, player):
    plan = make_plan(player.labels, 4, tempo_bpm=90)
    request = {**NOTHING, "bars": 4, "temperature": 1, "guidance": 2, "seed": 3, "asked": asked_of(plan)}
    assert (
        opened.play("continue", request)["hits"] == player.generate(64, None, SamplingOptions(seed=3), plan=plan)[0]
    ).all()


def some_infill(player):
    """A song of 12 bars, of which the last eight are to be filled in, and which cells of these are known."""
    song = player.generate(192, None, SamplingOptions(seed=11))[0]
    known = np.zeros((128, 10), np.uint8)
    known[:, 0] = known[64:] = known[5] = 1
    return song, known


@pytest.mark.parametrize("particles", [1, 16])
@pytest.mark.parametrize(("temperature", "guidance"), [(1.0, None), (0.8, 1.0)])
def test_the_same_seed_fills_in_as_python_does(opened, player, particles, temperature, guidance):
    """With one particle these are the locks of ``stream``; with more, infill."""
    song, known = some_infill(player)
    context, pattern = song[:64], song[64:]
    plan = None if guidance is None else some_plan(player, 12)
    options = {"temperature": temperature, "seed": 4, "guidance": guidance or 0.0}
    cells = {"known": known.ravel().tolist(), "start": 64, "horizonBars": 2}
    request = {**options, "particles": particles, **song_of(song), **cells, "asked": asked_of(plan)}
    found, sampling, locks = opened.play("infill", request), SamplingOptions(**options), Locks(known > 0, pattern)
    expected = infill(player, locks, None, sampling, context=context, plan=plan, infilling=InfillOptions(particles, 2))
    assert (found["hits"] == expected.hits).all() and (found["hits"] != pattern).any()
    assert found["smallest"] == pytest.approx(expected.smallest, rel=1e-3)
    if particles == 1:
        assert (found["hits"] == player.generate(128, context, sampling, locks=locks, plan=plan)[0]).all()
    whole = np.concatenate([context, expected.hits])
    is_told = np.concatenate([context > 0, (expected.hits > 0) & (pattern > 0)])
    told = tuple(np.where(is_told, value, np.nan) for value in (np.float32(0.8), 0.0))
    played = player.perform(whole, 100, seed=4, known=told)
    check_played(found, [values[64:] for values in played])


@pytest.mark.parametrize("particles", [1, 16])
@pytest.mark.parametrize(("temperature", "guidance"), [(1.0, None), (0.8, 1.0)])
def test_at_least_one_of_a_set_sounds_as_in_python(opened, player, particles, temperature, guidance):
    """Sets beside locked cells, of which some answer a set already, and some are of it and silent."""
    song, known = some_infill(player)
    context, pattern = song[:64], song[64:]
    some = np.zeros(known.shape, np.uint8)
    some[:64:3, [0, 1, 8]] = some[1:64:6, 2:5] = 1
    known[6, [0, 1]], pattern = 1, pattern * (np.arange(128) != 6)[:, None].astype(np.uint8)
    plan = None if guidance is None else some_plan(player, 12)
    options = {"temperature": temperature, "seed": 9, "guidance": guidance or 0.0}
    cells = {"known": known.ravel().tolist(), "some": some.ravel().tolist(), "start": 64, "horizonBars": 2}
    song = np.concatenate([context, pattern])
    request = {**options, "particles": particles, **song_of(song), **cells, "asked": asked_of(plan)}
    found, locks = opened.play("infill", request), Locks(known > 0, pattern, some > 0)
    expected = infill(
        player,
        locks,
        None,
        SamplingOptions(**options),
        context=context,
        plan=plan,
        infilling=InfillOptions(particles, 2),
    )
    assert (found["hits"] == expected.hits).all()
    assert found["smallest"] == pytest.approx(expected.smallest, rel=1e-3)
    assert ((expected.hits * some).any(1) == some.any(1)).all()


def test_the_same_seed_plays_as_python_does(opened, player):
    primer = player.generate(64, None, SamplingOptions(seed=8))[0]
    velocity, offset = player.perform(primer, 110, seed=9)
    request = {**song_of(primer, velocity, offset, 110), "temperature": 1, "seed": 12, "bars": 4}
    first = opened.play("continue", request)
    moment = player.feed(player.initial_state(110), primer, velocity, offset, 110)
    part, _ = player.play(moment, 64, player.rules(SamplingOptions(seed=12)), 110)
    assert (first["hits"] == part.hits).all()
    check_played(first, (part.velocity, part.offset))
    # What the thread remembers of the primer changes nothing: the same again, and after other music.
    again = opened.play("continue", request)
    opened.play("continue", {**NOTHING, "temperature": 1, "seed": 12, "bars": 4})
    third = opened.play("continue", request)
    for name, values in first.items():
        assert str(again[name]) == str(third[name]) == str(values), name


def test_endless_play_remembers_what_it_no_longer_sends(opened, player):
    rules = [player.rules(SamplingOptions(seed=seed)) for seed in (1, 2)]
    first = opened.play("continue", {**NOTHING, "temperature": 1, "seed": 1, "bars": 8})
    part, moment = player.play(player.initial_state(120), 128, rules[0], 120)
    assert (first["hits"] == part.hits).all()
    window = {name: first[name][64:] for name in ("hits", "velocity", "offset")}
    song = song_of(window["hits"], window["velocity"], window["offset"], 120)
    song |= {
        "openness": first["openness"][640:],
        "strokes": [[c - 640, own] for c, own in first["strokes"] if c >= 640],
    }
    request = {**song, "temperature": 1, "seed": 2, "bars": 4}
    found = opened.play("continue", {**request, "mayRemember": True})
    whole, _ = player.play(moment, 64, rules[1], 120)
    heard = player.feed(player.initial_state(120), *(window[name] for name in ("hits", "velocity", "offset")), 120)
    alone, _ = player.play(heard, 64, rules[1], 120)
    assert (found["hits"] == whole.hits).all() and (whole.hits != alone.hits).any()
    check_played(found, (whole.velocity, whole.offset))
    assert (opened.play("continue", request)["hits"] == alone.hits).all()


def test_what_is_not_within_the_bounds_is_refused(opened):
    for name, value in (("temperature", 10.1), ("topP", 0), ("guidance", 101), ("seed", -1), ("bars", 0)):
        with pytest.raises(Exception, match="expected"):
            opened.play("continue", {**NOTHING, "temperature": 1, "seed": 1, "bars": 1, name: value})
    for particles in (0, 65_537):
        request = {**song_of(np.zeros((16, 10))), "known": [0] * 160, "start": 0, "horizonBars": None}
        with pytest.raises(Exception, match="particles"):
            opened.play("infill", {**request, "temperature": 1, "seed": 1, "particles": particles})


def test_the_page_has_the_bounds_and_defaults_of_python():
    assert json.loads((ROOT / "web" / "src" / "bounds.json").read_text()) == bounds_record(), "make page"


# ---------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def served():
    """``hypermeter serve`` with the shipped model, as a user starts it."""
    pytest.importorskip("fastapi", reason="the server is an extra")
    pytest.importorskip("uvicorn", reason="the server is an extra")
    command = [sys.executable, "-m", "hypermeter.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def session_on_server(chromium, served):
    session = Session(chromium, served).ready()
    session.until("() => !document.getElementById('engine').hidden")
    session.page.click("#engine-server")
    return session


@pytest.fixture(scope="module")
def on_server(chromium, served):
    """One page that has the server play, for all tests of this file that leave it so."""
    session = session_on_server(chromium, served)
    yield session
    session.close()


def test_the_server_plays_what_the_page_plays(on_server, player):
    song = song_of(player.generate(64, None, SamplingOptions(seed=2))[0])
    for request in (
        {**NOTHING, "temperature": 1, "seed": 5, "bars": 4},
        {**song, "temperature": 0.8, "seed": 6, "bars": 4, "guidance": 1.0, "asked": asked_of(some_plan(player, 8))},
    ):
        here, there = (on_server.play("continue", request, where) for where in ("page", "server"))
        assert (here["hits"] == there["hits"]).all() and here["hits"].any()
        check_played(here, [there[name] for name in ("velocity", "offset")])


def test_the_server_fills_in_as_the_page_does(on_server, player):
    song, known = some_infill(player)
    options = {"particles": 8, "temperature": 1, "seed": 7, "guidance": 1.0, "asked": asked_of(some_plan(player, 12))}
    cells = {"known": known.ravel().tolist(), "start": 64, "horizonBars": None}
    request = {**options, **song_of(song), **cells}
    here, there = (on_server.play("infill", request, where) for where in ("page", "server"))
    assert (here["hits"] == there["hits"]).all()
    check_played(here, [there[name] for name in ("velocity", "offset")])


def test_everything_is_done_on_the_server_where_it_is_chosen(chromium, served):
    session, paths = session_on_server(chromium, served), []
    session.page.on(
        "request", lambda request: paths.append(request.url.split("/api/")[-1]) if "/api/" in request.url else None
    )
    session.click("bars-4", "continue")
    session.click("vary")
    session.click("fill-bar")
    assert paths == ["continue/stream", "infill", "infill"]
    assert session.song()["bars"] == 8
    session.page.click("#engine-page")
    session.click("continue")
    assert len(paths) == 3 and session.song()["bars"] == 12
    session.close()


# ---------------------------------------------------------------------- what is asked


WISHES = (
    PlanOptions(),
    PlanOptions(style="funk"),
    PlanOptions(fill=[False, False, False, True]),
    PlanOptions(density=[0.1, 0.15, 0.2, 0.25]),
)


@pytest.fixture(params=["page", "server"])
def anywhere(request):
    """The page as it opens, or as it has the server play."""
    return request.getfixturevalue("opened" if request.param == "page" else "on_server")


def some_groove(player, bars, seed=31):
    """Return a groove with velocity and timing, on which something can be played on."""
    return continue_groove(player, None, bars, SamplingOptions(seed=seed), tempo_bpm=96)


def asks_of(player, wishes, bars):
    """Return what the page holds of wishes for so many bars."""
    style = 0 if wishes.style is None else 1 + player.labels["style"].index(wishes.style)
    open_bars = [None] * bars
    fills, densities = wishes.fill or open_bars, wishes.density or open_bars
    return [
        {"section": 0, "style": style, "fill": 0 if fill is None else 1 + fill, "density": density}
        for fill, density in zip(fills, densities, strict=True)
    ]


def do(session, groove, action, asks, **settings):
    """Return what the song holds after the page's own action on a groove; bars from `first` on are asked."""
    song = {name: getattr(groove, name).ravel().tolist() for name in ("hits", "velocity", "offset")}
    song["openness"] = [None if math.isnan(value) else value for value in groove.openness.ravel().tolist()]
    song["strokes"] = [row[:4] for row in groove.strokes.table.tolist()]
    done = session.page.evaluate(
        """async ([{ hits, velocity, offset, openness, strokes }, tempo, grid, first, asks, settings, action]) => {
            const { app } = hypermeter
            const open = Array(first).fill({ section: 0, style: 0, fill: 0, density: null })
            const cells = {
                hits: Uint8Array.from(hits), velocity: Float32Array.from(velocity), offset: Float32Array.from(offset),
            }
            const bars = { grid, stepsPerBar: grid.steps_per_beat * grid.beats_per_bar }
            const further = new Map()
            for (const [step, voice, offset, velocity] of strokes) {
                const cell = 10 * step + voice
                further.set(cell, [...(further.get(cell) ?? []), { offset, velocity, openness: NaN }])
            }
            cells.openness = Float32Array.from(openness, (value) => value ?? NaN)
            cells.strokes = further
            const whole = { ...cells, ...bars, locked: new Uint8Array(hits.length), asks: [...open, ...asks], tempo }
            app.edit({ ...app.song, ...whole })
            const { selection, ...rest } = settings
            app.set({ style: 0, section: 0, temperature: 1, guidance: 1, ...rest })
            if (selection) app.select(...selection)
            return await app[action[0]](...action.slice(1))
        }""",
        [song, groove.tempo_bpm, groove.grid.to_dict(), settings.pop("first", groove.num_bars), asks, settings, action],
    )
    assert done
    return played_of(session)


def played_of(session):
    """Return hits, velocity and offset of the song."""
    song = session.song()
    played = {name: np.array(song[name]).reshape(-1, 10) for name in ("hits", "velocity", "offset")}
    return played | {"openness": np.array(song["openness"], float).reshape(-1, 10), "strokes": song["strokes"]}


def check_equal(found, groove, with_articulation=True):
    """Compare a song with a groove; arithmetic that differs in the last digit can put a hit in the bin beside."""
    assert (found["hits"] == groove.hits).all()
    for name in ("velocity", "offset"):
        assert (np.abs(found[name] - getattr(groove, name)) > 1e-6).sum() <= max(1, groove.hits.sum() // 50), name
    if not with_articulation:
        return
    rows = zip(*groove.strokes.table.T[:4].tolist(), strict=True)
    wanted = sorted(
        ([10 * step + voice, offset, velocity] for step, voice, offset, velocity in rows), key=lambda row: row[0]
    )
    assert [row[0] for row in found["strokes"]] == [row[0] for row in wanted]
    apart = np.abs(np.subtract(found["strokes"], wanted)).reshape(-1, 3).max(1, initial=0)
    assert (apart > 1e-5).sum() <= max(1, len(wanted) // 10)  # the server rounds to six digits
    assert (np.isnan(found["openness"]) == np.isnan(groove.openness)).all()
    assert (np.abs(np.nan_to_num(found["openness"]) - np.nan_to_num(groove.openness)) > 1e-5).sum() <= 2


@pytest.mark.parametrize("heard_bars", [0, 4])
def test_continue_gives_the_groove_of_python(anywhere, player, heard_bars):
    primer = some_groove(player, heard_bars) if heard_bars else None
    for seed, wishes in enumerate(WISHES, 2**40):
        expected = continue_groove(player, primer, 4, SamplingOptions(seed=seed), plan=wishes, tempo_bpm=96)
        nothing = Groove(np.zeros((0, 10)), tempo_bpm=96, kit=expected.kit)
        asks = asks_of(player, wishes, 4)
        found = do(anywhere, primer or nothing, ["continue", 4], asks, seed=seed, style=asks[0]["style"])
        check_equal(found, expected)
        assert expected.hits[-64:].any()


def test_two_bars_and_two_more_are_the_four_of_python(opened, player):
    """Endless play draws so, with the seed that it had: a style is as new as it is in one piece."""
    primer, wishes = some_groove(player, 4), PlanOptions(style="funk")
    expected = continue_groove(player, primer, 4, SamplingOptions(seed=6), plan=wishes)
    asks = asks_of(player, wishes, 4)
    do(opened, primer, ["continue", 2], [], seed=6, style=asks[0]["style"])
    opened.page.evaluate("async () => { hypermeter.app.set({ seed: 6 }); await hypermeter.app.continue(2) }")
    found = played_of(opened)
    check_equal(found, expected, with_articulation=False)  # of what is heard, openness is known at the hi-hat alone


@pytest.mark.parametrize("first", [0, 2])
def test_fill_in_gives_the_groove_of_python(anywhere, player, first):
    """The page looks two bars past what it writes."""
    groove, infilling = some_groove(player, 8), InfillOptions(horizon_bars=2)
    for seed, wishes in enumerate((PlanOptions(), PlanOptions(style="funk"), PlanOptions(density=[0.15, 0.25]))):
        expected, _ = replace_bars(
            player, groove, [first, first + 1], SamplingOptions(seed=seed), plan=wishes, infilling=infilling
        )
        asks = asks_of(player, wishes, 2)
        options = {"seed": seed, "first": first, "selection": [first, first + 2], "style": asks[0]["style"]}
        check_equal(do(anywhere, groove, ["fillIn"], asks, **options), expected)
        assert (expected.hits != groove.hits).any()


def test_vary_gives_the_groove_of_python(anywhere, player):
    groove = some_groove(player, 6)
    expected, _ = vary_groove(player, groove, 0.4, SamplingOptions(seed=22))
    asks = asks_of(player, WISHES[-1], 4)  # what is asked of bars counts for nothing there
    found = do(anywhere, groove, ["vary", 0.4], asks, seed=22, first=0, selection=[0, 6])
    check_equal(found, expected)
    assert (expected.hits != groove.hits).any()


def some_rhythm(bars=2):
    """Return a rhythm with accents, as a groove of one voice."""
    hits = np.zeros((16 * bars, 10), np.uint8)
    hits[[step for step in range(16 * bars) if step % 16 in (0, 3, 6, 10, 12)], 0] = 1
    velocity = hits * np.linspace(0.5, 1, len(hits))[:, None]
    return Groove(hits, velocity, tempo_bpm=96, kit="gm10")


def rhythm_of(groove):
    """Return a rhythm as the page has it."""
    taps = Taps.of(groove)
    velocity = [None if math.isnan(value) else value for value in taps.velocity.tolist()]
    return {"name": "taps", "isTap": taps.is_tap.astype(int).tolist(), "velocity": velocity, "isOnOnePitch": True}


@pytest.mark.parametrize(("answer", "between"), [("loud", "silent"), ("all", "free"), ("kick", "silent")])
def test_a_rhythm_is_followed_as_python_follows_it(anywhere, player, answer, between):
    """On an empty song; velocity and timing of taps are not heard on the page."""
    taps = some_rhythm()
    following = FollowOptions([answer], between, touch=False)
    expected, _ = follow_groove(player, taps, SamplingOptions(seed=24), following)
    empty = Groove(np.zeros((32, 10)), tempo_bpm=96, kit=expected.kit)
    action = ["follow", rhythm_of(taps), answer, between]
    check_equal(do(anywhere, empty, action, [], seed=24, first=0, selection=[0, 2]), expected)
    assert expected.hits.any()


def test_hits_that_are_locked_stay_when_a_rhythm_is_followed(opened, player):
    groove, taps = some_groove(player, 4), some_rhythm()
    opened.page.evaluate("() => hypermeter.app.edit({ ...hypermeter.app.song, lockedVoices: Array(10).fill(false) })")
    do(opened, groove, ["follow", rhythm_of(taps), "loud", "silent"], [], seed=2, first=0, selection=[1, 3])
    first = opened.hits
    assert (first[:16] == groove.hits[:16]).all() and (first[48:] == groove.hits[48:]).all()
    loud = [0, 1, 5, 6, 7, 8]
    assert (first[16:48, loud].any(1) == taps.hits.any(1)).all()


def test_takes_are_those_of_python(anywhere, player):
    primer = some_groove(player, 2)
    takes = draw_takes(
        lambda seed: continue_groove(player, primer, 2, SamplingOptions(seed=seed), include_primer=False), 3, seed=2**52
    )
    do(anywhere, primer, ["continue", 2], asks_of(player, PlanOptions(), 2), seed=2**52, takes=3)
    offered = anywhere.page.evaluate(
        """() => hypermeter.app.offer.takes.map(
            ({ seed, distance, part }) => ({ seed, distance, hits: [...part.hits] }))"""
    )
    assert [take["seed"] for take in offered] == [take.seed for take in takes]
    for number, (take, one) in enumerate(zip(offered, takes, strict=True)):
        assert take["distance"] == pytest.approx(one.distance, abs=1e-3)
        assert (np.reshape(take["hits"], (-1, 10)) == one.groove.hits).all()
        anywhere.page.evaluate("(number) => hypermeter.app.choose(number)", number)
        assert (anywhere.hits[32:] == one.groove.hits).all()
    anywhere.page.evaluate("() => { hypermeter.app.undo(); hypermeter.app.set({ takes: 1 }) }")
    assert (anywhere.hits == primer.hits).all()  # choices are undone as one


def test_the_last_bars_vary_as_they_do_in_python_after_the_others(opened, player):
    context = some_groove(player, 4)
    last = continue_groove(player, context, 2, SamplingOptions(seed=32), include_primer=False)
    groove = join_grooves(context, last)
    expected, _ = vary_groove(player, last, 0.6, SamplingOptions(seed=23), context=context)
    found = do(opened, groove, ["vary", 0.6], [], seed=23, selection=[4, 6])
    found["strokes"] = [[cell - 640, *values] for cell, *values in found["strokes"] if cell >= 640]
    check_equal({name: values if name == "strokes" else values[64:] for name, values in found.items()}, expected)
    assert (found["hits"][:64] == context.hits).all() and (expected.hits != last.hits).any()


# ---------------------------------------------------------------------- other metres


GRIDS = (
    Grid(steps_per_beat=3),
    Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8),
    Grid(steps_per_beat=2, beats_per_bar=7, beat_unit=8),
    Grid(beats_per_bar=3),
    Grid(steps_per_beat=2, beats_per_bar=12, beat_unit=8),
)


@pytest.fixture
def every_metre(player):
    if isinstance(player.grid_choice, Grid):
        pytest.skip("the page's model plays one metre")
    return player


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.metre} {grid.steps_per_beat}")
def test_a_song_in_another_metre_goes_on_as_in_python(anywhere, every_metre, grid):
    placed, wishes = every_metre.on(grid), PlanOptions(style="jazz", fill=[False, False, False, True])
    first = continue_groove(placed, None, 4, SamplingOptions(seed=41), tempo_bpm=96)
    nothing = Groove(np.zeros((0, 10)), tempo_bpm=96, kit=first.kit, grid=grid)
    check_equal(do(anywhere, nothing, ["continue", 4], asks_of(every_metre, PlanOptions(), 4), seed=41), first)
    expected = continue_groove(placed, first, 4, SamplingOptions(seed=42), plan=wishes)
    asks = asks_of(every_metre, wishes, 4)
    found = do(anywhere, first, ["continue", 4], asks, seed=42, style=asks[0]["style"])
    check_equal(found, expected)
    assert expected.hits[-4 * grid.steps_per_bar :].any()


@pytest.mark.parametrize("grid", GRIDS[:3], ids=lambda grid: f"{grid.metre} {grid.steps_per_beat}")
def test_bars_in_another_metre_are_reworked_as_in_python(anywhere, every_metre, grid):
    placed, infilling = every_metre.on(grid), InfillOptions(horizon_bars=2)
    groove = continue_groove(placed, None, 6, SamplingOptions(seed=43), tempo_bpm=96)
    expected, _ = replace_bars(placed, groove, [2, 3], SamplingOptions(seed=7), infilling=infilling)
    asks = asks_of(every_metre, PlanOptions(), 2)
    check_equal(do(anywhere, groove, ["fillIn"], asks, seed=7, first=2, selection=[2, 4]), expected)
    varied, _ = vary_groove(placed, groove, 0.4, SamplingOptions(seed=22))
    check_equal(do(anywhere, groove, ["vary", 0.4], [], seed=22, first=0, selection=[0, 6]), varied)
    assert (varied.hits != groove.hits).any() and (expected.hits != groove.hits).any()
