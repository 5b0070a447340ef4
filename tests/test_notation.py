"""Notation of live coders, in and out. The onsets of ORACLE are what @strudel/mini 1.2.6 gives for two cycles."""

from dataclasses import replace
from fractions import Fraction
from time import perf_counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypermeter import cli
from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.strokes import Strokes
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.io.notation import (
    from_strudel,
    from_tidal,
    is_text,
    parse_mini,
    read_text,
    samples_of,
    to_strudel,
    to_tidal,
    write_text,
)
from hypermeter.io.notation.pattern import bjorklund
from hypermeter.model.hierarchical import HierarchicalDrumModel

ORACLE = [
("bd*4, ~ sd ~ sd", "bd@0 bd@1/4 sd@1/4 bd@1/2 bd@3/4 sd@3/4 bd@1 bd@5/4 sd@5/4 bd@3/2 bd@7/4 sd@7/4"),
    ("bd(3,8)", "bd@0 bd@3/8 bd@3/4 bd@1 bd@11/8 bd@7/4"),
    ("bd(3,8,2)", "bd@0 bd@1/4 bd@5/8 bd@1 bd@5/4 bd@13/8"),
    ("bd(5,8)", "bd@0 bd@1/4 bd@3/8 bd@5/8 bd@3/4 bd@1 bd@5/4 bd@11/8 bd@13/8 bd@7/4"),
    ("bd(5,16,3)", "bd@3/16 bd@3/8 bd@9/16 bd@3/4 bd@15/16 bd@19/16 bd@11/8 bd@25/16 bd@7/4 bd@31/16"),
    ("bd(4,9)", "bd@0 bd@2/9 bd@4/9 bd@2/3 bd@1 bd@11/9 bd@13/9 bd@5/3"),
    ("bd(1,8)", "bd@0 bd@1"),
    ("<bd sd>!2 cr@2", "bd@0 bd@1/4 cr@1/2 sd@1 sd@5/4 cr@3/2"),
    ("<bd sd cr>*2 hh", "bd@0 sd@1/4 hh@1/2 cr@1 bd@5/4 hh@3/2"),
    ("{bd sd, hh hh hh}", "bd@0 hh@0 hh@1/2 sd@1/2 bd@1 hh@1 hh@3/2 sd@3/2"),
    ("[bd sd]/2 hh", "bd@0 hh@1/2 sd@1 hh@3/2"),
    ("<bd <sd cr>>", "bd@0 sd@1"),
    ("bd _ sd", "bd@0 sd@2/3 bd@1 sd@5/3"),
    ("bd@3 sd", "bd@0 sd@3/4 bd@1 sd@7/4"),
    ("bd ! sd", "bd@0 bd@1/3 sd@2/3 bd@1 bd@4/3 sd@5/3"),
    ("bd!3 sd", "bd@0 bd@1/4 bd@1/2 sd@3/4 bd@1 bd@5/4 bd@3/2 sd@7/4"),
    ("<bd@3 sd>", "bd@0"),
    ("<[bd sd]@2 hh>", "bd@0 sd@1"),
    ("<bd sd>(3,8)", "bd@0 bd@3/8 bd@3/4 sd@1 sd@11/8 sd@7/4"),
    ("bd*1.5", "bd@0 bd@2/3 bd@4/3"),
    ("[bd, sd hh] cp", "bd@0 sd@0 hh@1/4 cp@1/2 bd@1 sd@1 hh@5/4 cp@3/2"),
    ("bd [sd -] - ~", "bd@0 sd@1/4 bd@1 sd@5/4"),
    ("<bd sd>/2", "bd@0"),
]  # fmt: skip

BOTH = pytest.mark.parametrize(("write", "read"), [(to_tidal, from_tidal), (to_strudel, from_strudel)])


def some_groove(steps=80, kit="gm10", grid=Grid(), density=0.2, seed=0, tempo_bpm=97.5):
    random = np.random.default_rng(seed)
    hits = random.random((steps, load_kit(kit).num_voices)) < density
    offset = np.where(hits, random.uniform(-0.5, 0.49, hits.shape), 0)
    return Groove(hits, np.where(hits, random.random(hits.shape), 0), offset, tempo_bpm, kit, grid)


@pytest.mark.parametrize(("text", "onsets"), ORACLE, ids=[text for text, _ in ORACLE])
def test_onsets_are_those_that_strudel_gives(text, onsets):
    events = parse_mini(text, rotates_right=True).onsets(Fraction(0), Fraction(2))
    played = sorted((event.begin, event.value.text) for event in events)
    assert " ".join(f"{word}@{begin}" for begin, word in played) == onsets


@pytest.mark.parametrize(
    ("hits", "steps", "rhythm"),
    [(3, 8, "x..x..x."), (5, 8, "x.xx.xx."), (2, 5, "x.x.."), (4, 4, "xxxx"), (0, 3, "..."), (1, 3, "x..")],
)
def test_euclidean_rhythms_are_those_of_tidal(hits, steps, rhythm):
    assert "".join("x" if each else "." for each in bjorklund(hits, steps)) == rhythm


def test_a_euclidean_rhythm_is_rotated_to_the_left_in_tidal_and_to_the_right_in_strudel():
    kicks = [np.flatnonzero(read("bd(3,8,2)").hits[:, 0]).tolist() for read in (from_tidal, from_strudel)]
    assert kicks == [[2, 8, 12], [0, 4, 10]]


@BOTH
@settings(deadline=None, max_examples=40)
@given(
    steps=st.integers(1, 100),
    kit=st.sampled_from(["gm10", "magenta9", "gm"]),
    grid=st.sampled_from([Grid(), Grid(3), Grid(2, 6, 2, 8), Grid(1, 1, 1), Grid(4, 7, 4, 8), Grid(6, 3)]),
    density=st.sampled_from([0, 0.05, 0.5, 1]),
    seed=st.integers(0, 99),
    options=st.fixed_dictionaries({"with_gain": st.booleans(), "with_timing": st.booleans()}),
)
def test_a_groove_is_read_back_as_it_was_written(write, read, steps, kit, grid, density, seed, options):
    groove = some_groove(steps, kit, grid, density, seed)
    again = read(write(groove, **options), kit)
    np.testing.assert_array_equal(again.hits, groove.hits)
    assert (again.tempo_bpm, again.grid, again.kit) == (97.5, grid, kit)
    on = groove.hits > 0
    if options["with_gain"]:
        np.testing.assert_allclose(again.velocity[on], groove.velocity[on], atol=0.0051)
    else:
        np.testing.assert_array_equal(again.velocity[on], np.float32(0.8))
    if options["with_timing"]:
        np.testing.assert_allclose(again.offset[on], groove.offset[on], atol=0.0001 / groove.step_duration_s)
    else:
        assert not again.offset.any()


@BOTH
def test_the_corpus_is_read_back_without_the_comment_that_tells_the_length(write, read):
    for name, groove in read_corpus().items():
        text = "\n".join(line for line in write(groove).splitlines() if not line.startswith(("--", "//")))
        again = read(text)
        repeated = np.resize(again.hits, groove.hits.shape)
        np.testing.assert_array_equal(repeated, groove.hits, name)
        assert again.tempo_bpm == pytest.approx(groove.tempo_bpm)


def test_code_is_compact_and_can_be_read_by_people():
    hits = np.zeros((32, 10))
    hits[::4, 0] = hits[4::8, 1] = hits[::2, 2] = hits[28:, 5] = 1
    velocity = np.where(hits, 0.8, 0)
    velocity[2::4, 2] = 0.4
    groove = Groove(hits, velocity, tempo_bpm=120)
    assert to_tidal(groove).splitlines() == [
        "-- tempo 120, metre 4/4, 4 steps a beat, phrases of 4, 32 steps",
        "",
        "setcps (120/60/4)",
        "",
        "d1 $ stack [",
        '  s "bd*4" # gain "0.8",',
        '  s "~ sd ~ sd" # gain "0.8",',
        '  s "hh*8" # gain "[0.8 0.4]!4",',
        '  s "<~ [~ ~ ~ lt*4]>" # gain "0.8"',
        "  ]",
    ]
    assert to_strudel(groove, with_gain=False).splitlines()[2:] == [
        "setcpm(120/4)",
        "stack(",
        '  s("bd*4"),',
        '  s("~ sd ~ sd"),',
        '  s("hh*8"),',
        '  s("<~ [~ ~ ~ lt*4]>")',
        ")",
    ]


def test_silence_is_written_and_read():
    groove = Groove(np.zeros((32, 10)))
    for write, read, word in ((to_tidal, from_tidal, "d1 $ silence"), (to_strudel, from_strudel, "silence")):
        assert write(groove).splitlines()[-1] == word
        assert read(write(groove)).hits.shape == (32, 10)


def test_tracks_are_left_out_and_named():
    groove = Groove(np.eye(16, 10), tracks={"bass": np.full(16, 36)})
    assert "-- left out: bass" in to_tidal(groove).splitlines()
    assert not from_tidal(to_tidal(groove)).tracks


def test_people_write_it_in_many_ways():
    wanted = np.zeros((16, 10))
    wanted[::4, 0] = wanted[4::8, 1] = wanted[::2, 2] = 1
    for text in (
        "bd*4, ~ sd ~ sd, hh*8",
        'd1 $ stack [s "bd*4", s "~ sd ~ sd", s "hh*8"]',
        'd1 $ sound "bd*4"\n\nd2 $ s "~ sd*1 ~ sd" -- the backbeat\n\nd3 $ s "[hh hh]*4" # room 0.3 # pan "0 1"',
        'do\n  d1 $ s "bd*4"\n  d2 $ s "~ sd ~ sd"\n  p "hats" $ s "hh*8"',
        'd1 $ stack [\n  s "bd*4",\n  s "~ sd ~ sd"\n    # room "<0.1 0.3>",\n  fast 2 $ s "hh*4"\n  ] # speed 2',
        'd1 $ s "bd(4,16)" <> (0.25 ~> s "sd*2") <> (n "0 0 . 0 0 . 0 0 . 0 0" # s "hh")',
    ):
        np.testing.assert_array_equal(from_tidal(text).hits, wanted, text)
    for text in (
        "bd*4, ~ sd ~ sd, hh*8",
        'stack(s("bd*4"), sound("~ sd - sd"), s("hh*8"))',
        '$: s("bd*4, ~ sd ~ sd, hh*8").bank("RolandTR909")',
        "// mine\n$: s(`bd*4,\n  ~ sd ~ sd,\n  hh*8`)",
        's("kick*4, ~ snare:3 ~ sn, hc*8")',
        's("RolandTR909_bd*4, ~ 808sd ~ sd, {hh ~}%16")',
        'setcpm(30)\n\nkick: s("bd*4")\n  .room(.2)\n_$: s("cp*8")\n$: s("~ sd ~ sd"); $: s("hh*4").fast(2)._scope()',
        'const hats = s("hh*8")\n$: s("bd*4, ~ sd ~ sd").midi("IAC Driver", {latency: 0})\n$: hats.midichan(10)',
        's("bd*4").stack(s("sd*2").late(1/4), s("hh*4").superimpose(x => x.late(.125)))',
    ):
        np.testing.assert_array_equal(from_strudel(text).hits, wanted, text)


def test_a_byte_order_mark_is_no_part_of_the_code(tmp_path):
    for name, text in (("a.tidal", 'd1 $ s "bd*4"'), ("a.strudel", 's("bd*4")'), ("a.txt", "kick |x...x...x...x...|")):
        (tmp_path / name).write_text(text, "utf-8-sig")
        assert read_text(tmp_path / name).hits[:, 0].sum() == 4


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ('d1 $ n "0 1 2 3" # s "bd"', 4),
        ('d1 $ s "bd*2" # n "0 ~"', 1),
        ('d1 $ s "bd*4"\n\nd1 $ s "hh*8"', 8),
        ('d1 $ s "bd*4"\n\nhush\n', 0),
        ('d1 $ s "bd*4"\nd2 $ s "hh*3"\nd1 silence', 3),
        ('d1 $ s "bd*4" # gain "0.5 . 1"', 4),
        ('d1 $ every 2 (fast 2) $ s "bd*4"', 12),
        ('d1 $ s "bd*4" |+| n "1 2 3"', 6),
        ('d1 $ s "bd . sd hh . cp"', 4),
        ('d1 $ s "bd(<3 5>,8)"', 8),
        ('d1 $ s "bd*<2 4>"', 6),
    ],
)
def test_structure_in_tidal(text, hits):
    assert from_tidal(text, grid=Grid(24)).hits.sum() == hits


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ('n("0 1 2 3").s("bd")', 4),
        ('s("hh*4").n("0 ~")', 2),
        ('s("bd*4")\ns("hh*8")', 8),
        ('$: s("bd*4")\ns("hh*8")', 4),
        ('s("bd*4")\nsetcpm(30)', 0),
        ('s("bd*4").hush()', 0),
        ('$: s("bd*4")\nhush()', 0),
        ('S$: s("bd*4")\n$: s("hh*8")', 4),
        ('$: s("bd*4")\n$: s("hh*2")\nall(x => x.fast(2))', 12),
        ('s("[bd sd](3,8)")', 3),
        ('s("bd*4").every(2, fast(2))', 12),
        ("s('bd').fast(4)", 4),
    ],
)
def test_structure_in_strudel(text, hits):
    assert from_strudel(text, grid=Grid(24)).hits.sum() == hits


def test_a_swung_hit_is_on_its_nearest_step_with_the_rest_as_offset():
    groove = from_strudel('s("hh*8").swing(4)')
    assert np.flatnonzero(groove.hits[:, 2]).tolist() == [0, 3, 4, 7, 8, 11, 12, 15]
    assert groove.offset[[0, 3], 2].tolist() == pytest.approx([0, -1 / 3])
    swung = from_tidal('d1 $ swingBy (1/3) 4 $ s "hh*8"')
    assert swung.offset[[3, 7], 2].tolist() == pytest.approx([1 / 3] * 2)
    late = from_strudel('s("bd ~ ~ ~").late(.02)')
    assert late.hits[0, 0] and late.offset[0, 0] == pytest.approx(0.32)


def test_a_nudge_of_more_than_half_a_step_moves_the_hit():
    groove = from_tidal('d1 $ s "bd*4" # nudge 0.1', tempo_bpm=120)  # a step is 0.125 s
    assert np.flatnonzero(groove.hits[:, 0]).tolist() == [1, 5, 9, 13]
    assert groove.offset[1, 0] == pytest.approx(-0.2)
    groove = from_tidal('d1 $ s "bd*4" # nudge (-0.3)', tempo_bpm=120)
    assert np.flatnonzero(groove.hits[:, 0]).tolist() == [2, 6, 10, 14]  # The first comes in at the end.
    assert groove.offset[2, 0] == pytest.approx(-0.4)


@BOTH
def test_a_shift_is_written_with_the_offsets_and_read_back(write, read):
    groove = some_groove(32)
    apart = np.arange(32)[:, None] % 2 == 0  # or two hits of a voice are nearest to one step
    groove = replace(groove, hits=groove.hits * apart, offset=groove.offset * apart, shift=-0.37)
    again = read(write(groove, with_timing=True))
    np.testing.assert_array_equal(again.hits, groove.hits)
    assert again.shift == pytest.approx(-0.37, abs=1e-3)
    on = groove.hits > 0
    np.testing.assert_allclose(again.offset[on], groove.offset[on], atol=0.0002 / groove.step_duration_s)
    assert read(write(groove)).shift == 0
    moved = read("\n".join(write(groove, with_timing=True).splitlines()[1:]), bars=2)
    on = moved.hits > 0
    times = (np.argwhere(moved.hits)[:, 0] + moved.offset[on]) % 32
    wanted = (np.argwhere(groove.hits)[:, 0] + groove.shift + groove.offset[groove.hits > 0]) % 32
    np.testing.assert_allclose(np.sort(times), np.sort(wanted), atol=0.002)


def test_gain_is_velocity_and_a_rest_in_it_is_a_rest():
    groove = from_tidal('d1 $ s "hh*4" # gain "0.5 ~ 1.2 0.25"')
    assert np.flatnonzero(groove.hits[:, 2]).tolist() == [0, 8, 12]
    assert groove.velocity[[0, 8, 12], 2].tolist() == [0.5, 1, 0.25]


def test_gain_after_a_stack_is_of_all_that_is_in_it():
    for groove in (
        from_tidal('d1 $ stack [s "bd*4", s "hh*8" # gain 0.2] # gain "0.6"'),
        from_strudel('stack(s("bd*4"), s("hh*8").gain(0.2)).gain(0.6)'),
    ):
        assert set(groove.velocity[groove.hits > 0].tolist()) == {np.float32(0.6)}


def test_numbers_are_read_without_a_leading_zero_in_strudel_alone():
    groove = from_strudel('s("bd").speed(-.5).gain(".5").nudge(.0125)', tempo_bpm=120)
    assert groove.velocity[0, 0] == pytest.approx(0.5) and groove.offset[0, 0] == pytest.approx(0.1)
    for text in ('s "bd" # gain ".5"', 's "bd" # nudge ".01"', 's "bd*.5"'):
        with pytest.raises(HypermeterError, match=r"'\.[015]+' is .* in Tidal; write 0\.[015]+"):
            from_tidal(text)


@pytest.mark.parametrize("effect", ["pan(0.5)", "lpf(200, 300)", "scope()", 'pan("0 1")', "gain(0.5).room(.3)"])
def test_a_pattern_after_the_number_of_an_effect_is_played(effect):
    assert from_strudel(f'stack(s("bd*4").{effect}, "hh*8".s())').hits.sum(0)[:3].tolist() == [4, 0, 8]


def test_velocity_and_gain_are_multiplied_and_nudge_is_in_seconds():
    groove = from_tidal('s "bd" # gain 0.8 # velocity 0.5 # nudge "0.025"', tempo_bpm=120)
    assert groove.velocity[0, 0] == pytest.approx(0.4) and groove.offset[0, 0] == pytest.approx(0.2)


@BOTH
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from([Grid(), Grid(3), Grid(2, 6, 4, 8)]), st.booleans())
def test_every_stroke_is_written_and_read(write, read, seed, grid, with_timing):
    random = np.random.default_rng(seed)
    groove = some_groove(2 * grid.steps_per_bar, grid=grid, density=0.3, seed=seed)
    step, voice = np.nonzero(groove.hits)
    chosen = random.integers(0, len(step), 12)
    offset = random.uniform(-0.5, 0.499, 12)
    strokes = Strokes(step[chosen], voice[chosen], offset, 0.9 * groove.velocity[step, voice][chosen])
    groove = replace(groove, strokes=strokes, shift=0.0)
    again = read(write(groove, with_timing=with_timing))
    assert np.array_equal(again.hits, groove.hits) and np.array_equal(again.stroke_counts, groove.stroke_counts)
    if with_timing:
        for one, other in zip(again.played.table.T[2:4], groove.played.table.T[2:4], strict=True):
            assert np.abs(np.sort(one) - np.sort(other)).max() < 0.01


@BOTH
@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        ([0.4999999], "~ sd*2"),
        ([-0.25], "[[~ ~ ~ sd] sd ~ ~]"),
        ([0.25, 0.4999999], "[~ [sd!3 ~] ~ ~]"),
    ],
)
def test_strokes_in_equal_parts_of_a_step_are_written_so(write, read, offsets, text):
    count = len(offsets)
    strokes = Strokes([1] * count, [1] * count, offsets, [0.5] * count)
    hits = np.zeros((16, 10))
    hits[1, 1] = 1
    groove = Groove(hits, strokes=strokes)
    code = write(groove, with_gain=False)
    assert text in code
    again = read(code)
    assert np.allclose(np.sort(again.played.offset), np.sort([0, *offsets]), atol=1e-5)
    assert write(again, with_gain=False) == code


def test_a_step_that_is_divided_evenly_is_a_roll():
    groove = from_tidal('s "sd*2 ~!7 [sd sd sd sd] ~!7" # gain "0.8"')
    assert groove.hits[:, 1].nonzero()[0].tolist() == [0, 8, 9] and groove.stroke_counts[[0, 8, 9], 1].tolist() == [
        2,
        3,
        1,
    ]
    assert groove.played.offset.tolist() == pytest.approx([0, 0.5, 0, 0.25, 0.5, -0.25])
    assert groove.velocity[8, 1] == pytest.approx(0.8)


def test_the_louder_of_two_on_one_step_stays():
    groove = from_tidal('stack [s "bd" # gain 0.4, s "bd*2" # gain 0.9, s "bd" # gain 0.5]')
    assert groove.velocity[[0, 8], 0].tolist() == pytest.approx([0.9, 0.9])


@BOTH
def test_changed_code_counts_more_than_the_comment_above_it(write, read):
    text = write(Groove(np.tile(np.eye(16, 10), (2, 1)), tempo_bpm=120))
    assert len(read(text)) == 32
    assert read(text.replace("(120/", "(140/")).tempo_bpm == 140
    for pattern, steps in (("<bd sd>", 32), ("<bd sd cp>", 48), ("<bd sd cp bd>", 64)):
        assert len(read(text.replace('"bd', f'"{pattern} ~!15, bd'))) == steps
    assert read(write(some_groove(32, grid=Grid(1, 999, 4, 128)))).tempo_bpm == 97.5


def test_only_the_part_of_a_cycle_that_is_asked_is_worked_out():
    start = perf_counter()
    events = parse_mini("[[bd*4096 sd]/4096 sd]*64").query(Fraction(0), Fraction(1))
    assert len(events) == 192 and [event.value.text for event in events[:3]] == ["bd", "bd", "sd"]
    assert len(parse_mini("bd(1,4096)*1024").onsets(Fraction(0), Fraction(1))) == 1024
    assert perf_counter() - start < 3


@pytest.mark.parametrize(
    ("read", "text", "tempo"),
    [
        (from_tidal, 'setcps (90/60/4)\nd1 $ s "bd"', 90),
        (from_tidal, 'setcps 0.5\nd1 $ s "bd"', 120),
        (from_tidal, 'setcps 0.5\nd1 $ s "bd"\nsetcps $ 120/60/4', 120),
        (from_strudel, 'setcpm(140/4)\ns("bd")', 140),
        (from_strudel, 's("bd")', 120),
    ],
)
def test_the_tempo_is_that_of_the_code(read, text, tempo):
    assert read(text).tempo_bpm == pytest.approx(tempo)


def test_a_little_beside_the_step_is_moved_onto_it_and_kept_as_offset():
    groove = from_tidal("bd [~@3.125 sd@0.875] ~ hh")
    assert groove.hits[7, 1] and groove.offset[7, 1] == pytest.approx(0.125)
    with pytest.raises(HypermeterError, match="'bd' is between two steps"):
        from_tidal("bd*3")
    assert from_tidal("bd*3", grid=Grid(3)).hits[:, 0].sum() == 3


def test_the_bars_are_as_many_as_it_takes_to_repeat_or_as_asked():
    assert from_tidal("<bd sd>, <hh ~ ~>").num_bars == 6
    assert from_tidal("<bd sd>, <hh ~ ~>", bars=4).num_bars == 4
    assert from_tidal('s "bd*4" # gain "<0.5 0.6 0.7>"').num_bars == 3
    with pytest.raises(HypermeterError, match="repeats after .* bars, expected at most 1024"):
        from_tidal("<bd ~!30>, <sd ~!36>")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tidal: nothing in it"),
        ("bd [sd", "tidal, line 1, column 7: 'the end of the pattern', expected ']'"),
        ("bd sd]", "line 1, column 6: ']' closes nothing"),
        ("[bd sd>", "line 1, column 7: '>', expected ']'"),
        ("bd sd?", "line 1, column 6: '?' is chance"),
        ("bd|sd", "line 1, column 3: '|' is a random choice"),
        ("bd*", "column 4: '*' without a number"),
        ("bd*0", "column 4: '*' without a number"),
        ("bd*<2 x>", "column 7: * of 'x', expected a number"),
        ("bd(5,3)", "column 3: (5,3), expected at most as many hits as steps"),
        ("bd(3)", "column 3: (3), expected hits and steps"),
        ("bd(3;8)", "column 5: ';', expected a sound"),
        ("_ bd", "column 1: '_' has nothing before it"),
        ("<>", "column 1: nothing in the brackets"),
        ("bd*4096*4096", "column 1: more than 1024 sounds in a cycle"),
        ("[" * 99 + "bd" + "]" * 99, "more than 50 groups"),
        ("bd" + "*2/2" * 600, "more than 100 patterns within each other"),
        ("bd" + "(1,2)" * 600, "more than 100 patterns within each other"),
        ("[[bd/4096]!4096]*1024", "column 1: more than 1024 sounds in a cycle"),
        (
            "<bd sd>" + "/4095.123456789" * 90 + ", hh" + "/4093.987654321" * 90,
            "repeats after more than a million bars",
        ),
        ("bd foo", "column 4: no voice of gm10 plays 'foo'; it has bd, sd, hh, hh:1, oh"),
        ('d1 $ s "bd', "line 1, column 8: a quote that is not closed"),
        ('d1 $ sometimes (fast 2) $ s "bd"', "line 1, column 6: 'sometimes' plays by chance"),
        ('d1 $ chunk 2 (fast 2) $ s "bd"', "line 1, column 6: 'chunk' is not read"),
        ('d1 $ s "bd" |++| gain 0.5', "column 13: '|++|' is not read"),
        ('gain "1"', "column 7: gain without a sound"),
        ('s "bd" # gain rand', "column 15: gain by chance"),
        ('d1 $ s "bd" # gain (slow 5000 sine)', "a factor of 5000, expected one from 0 to 4096"),
        ('d1 $ s "bd" (', "column 14: the end, expected a pattern"),
        ('d1 $ every 2 $ s "bd"', "expected a function of a pattern, such as rev"),
        ('s "bd" # n "0 _ 1"', "column 14: Tidal takes the number behind '_' for a weight; write the weight as @2"),
        ('struct "t*2 t" $ s "bd"', "column 12: Tidal takes 't' for a part of the number before it"),
        ("{bd sd}%4 [hh]", "column 11: '[' belongs to the number behind }% in Tidal"),
        ("bd(-3,8)", "column 3: (-3,8) is silence in Tidal 1.7"),
        ("bd@2!3", "column 5: '!' behind a weight is not read in Tidal"),
        ("bd!3@2", "column 5: '@' behind copies is not read in Tidal"),
        ("bd!3*2", "column 5: '*' behind '!' or '@' is not read in Tidal"),
        ('d1\n  $ s "bd\n   foo"', "line 3, column 4: no voice"),
        ('s "bd" # gain "loud"', "column 16: gain 'loud', expected a number from 0 to 10"),
        ('setcps fast\ns "bd"', "line 1, column 1: setcps without a number"),
        ('setcps (1/0)\ns "bd"', "column 10: a division by 0"),
        ('setcps 0\ns "bd"', "tempo_bpm is 0"),
        ("setcps " + "9" * 500 + '\ns "bd"', "column 8: setcps of '999"),
        ('s "bd" # gain "nan"', "column 16: gain 'nan', expected a number"),
        ('s "bd" # gain (-1)', "column 17: gain '-1', expected a number"),
        ('s "bd*2" # nudge "-0.1 11"', "column 24: nudge '11', expected a number from -10 to 10"),
        ("bd*" + "1" * 5000, "'*' without a number"),
        ("bd!" + "0" * 5000 + "1", "'!' without a whole number"),
        ("-- tempo 1, metre 4/4, 4 steps a beat, phrases of 4, 9999999 steps\nbd", "9999999 steps, expected at most"),
        ("hh [~@8 sd@4]", "column 9: 'sd' is between two steps"),
    ],
)
def test_unsupported_code_is_one_line_that_has_its_position(text, message):
    with pytest.raises(HypermeterError) as caught:
        from_tidal(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_code_that_is_nested_too_deeply_is_refused():
    for read, text in (
        (from_tidal, "rev $ " * 3000 + 's "bd"'),
        (from_tidal, 's "bd"' + " # gain 1" * 3000),
        (from_strudel, 's("bd")' + ".rev()" * 3000),
        (from_strudel, "(" * 3000 + 's("bd")'),
    ):
        with pytest.raises(HypermeterError, match="within each other"):
            read(text)


def test_a_pattern_of_sounds_is_no_pattern_of_numbers():
    for read, text in ((from_tidal, 'fast (s "2") $ s "bd"'), (from_strudel, 's("bd").fast(s("2"))')):
        with pytest.raises(HypermeterError, match=r"line 1, column \d+: a pattern of sounds"):
            read(text)
    with pytest.raises(HypermeterError, match="'bd' without a sound, expected s"):
        from_strudel('"bd".gain(.5)')


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="bsdh~-[]<>{}*!@_/(),:%.?|\"' 123\n#$", max_size=40))
@example("$:(b")
@example("$:bd((s")
def test_any_text_is_read_or_refused(text):
    for read in (from_tidal, from_strudel):
        try:
            assert read(text, bars=2).hits.shape == (32, 10)
        except HypermeterError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kit", ["gm10", "magenta9", "gm"])
def test_each_voice_of_a_kit_has_a_sample_of_its_own(kit):
    samples = samples_of(load_kit(kit))
    assert len(set(samples)) == load_kit(kit).num_voices
    assert {"bd", "sd", "hh", "oh"} <= set(samples)


def test_a_kit_of_ones_own_has_samples_by_its_pitches():
    kit = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42,), 42), Voice("zap", (27,), 27)))
    assert samples_of(kit) == ("bd", "hh", "perc")
    assert from_tidal("boom tick bd zap", kit).hits.sum(0).tolist() == [2, 1, 1]


def test_a_kit_without_claps_plays_them_on_the_snare_and_the_number_of_a_sample_is_left_out():
    assert from_tidal("cp rim:2 sd:7 hh:9").hits[::4].argmax(1).tolist() == [1, 1, 1, 2]
    assert from_tidal("hh hh:1").hits[::8].argmax(1).tolist() == [2, 3]


@pytest.mark.parametrize("suffix", [".txt", ".tidal", ".strudel"])
def test_files_are_told_apart_by_their_suffix(tmp_path, suffix):
    groove, path = read_corpus()["funk-1"], tmp_path / f"beat{suffix}"
    assert is_text(path) and write_text(groove, path) == path
    np.testing.assert_array_equal(read_text(path).hits, groove.hits)
    assert not is_text("beat.mid")
    with pytest.raises(HypermeterError, match=r"expected a name that ends in .txt, .tidal, .strudel"):
        write_text(groove, tmp_path / "beat.mid")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HypermeterError, match="not text in UTF-8"):
        read_text(path)
    path.write_text("bd [")
    with pytest.raises(HypermeterError, match=f"beat{suffix}"):
        read_text(path)
    path.unlink()
    with pytest.raises(HypermeterError, match="cannot be read"):
        read_text(path)


def test_the_command_goes_on_from_code_and_writes_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beat.tidal").write_text('d1 $ stack [s "bd*2", s "~ sd ~ sd", s "hh*8"]\n')
    for out in ("more.strudel", "more.txt", "more.mid"):
        command = ["generate", "beat.tidal", "--out", out, "--bars", "2", "--no-picture", "--no-expression"]
        assert cli.main(command) == 0, capsys.readouterr().err
    made = read_text("more.strudel")
    np.testing.assert_array_equal(made.hits[:16], read_text("beat.tidal").hits)
    np.testing.assert_array_equal(read_text("more.txt").hits, made.hits)
    np.testing.assert_array_equal(read_midi("more.mid").hits, made.hits)
    capsys.readouterr()
    assert cli.main(["inspect", "more.strudel"]) == 0
    assert "closed_hat |x.x.x.x.x.x.x.x." in capsys.readouterr().out
    (tmp_path / "waltz.tidal").write_text("-- tempo 90, metre 3/4, 4 steps a beat, phrases of 4\nbd sd sd")
    assert cli.main(["generate", "waltz.tidal", "--out", "waltz.mid", "--bars", "1"]) == 0
    assert read_midi("waltz.mid", grid=Grid.of_metre("3/4")).num_bars == 2


@pytest.mark.parametrize(
    ("name", "text", "tempo_bpm"),
    [
        ("beat.tidal", 'd1 $ s "bd*4"', 90),
        ("beat.strudel", 's("bd*4")', 90),
        ("beat.txt", "kick |x...x...x...x...|", 90),
        ("beat.tidal", 'setcps (100/60/4)\nd1 $ s "bd*4"', 100),
    ],
)
def test_text_without_a_tempo_leaves_it_to_what_tells_one(tmp_path, monkeypatch, name, text, tempo_bpm):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    HierarchicalDrumModel(10, 8, 8, 8, kit=load_kit("gm10")).save("model.safetensors")
    command = ["generate", name, "--out", "out.mid", "--model", "model.safetensors", "--no-picture"]
    options = () if tempo_bpm == 100 else ("--tempo-bpm", "90")
    assert cli.main([*command, "--bars", "1", *options]) == 0
    made = read_midi("out.mid")
    assert made.tempo_bpm == tempo_bpm and made.hits[:16, 0].sum() == 4
    write_midi(Groove(np.eye(16, 10), tempo_bpm=90), "lock.mid")
    assert cli.main([*command, "--lock", "lock.mid", "--particles", "2"]) == 0
    assert read_midi("out.mid").tempo_bpm == tempo_bpm
    assert read_text(name).unknown == (set() if tempo_bpm == 100 else {"tempo_bpm"})
