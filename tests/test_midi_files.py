"""MIDI files as people have them: containers, tempo maps, metres, pickups, and folders of them."""

import os

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.encodings import decode_text
from hypermeter.io.folders import files_below
from hypermeter.io.grooves import read_grooves
from hypermeter.io.midi import MIDI_SUFFIXES, parse_midi, read_midi, read_midi_report, to_midi_bytes
from hypermeter.io.midi.bars import are_alike
from hypermeter.learn.prepare import prepare
from hypermeter.learn.prepare.tables import read_table
from midi_bytes import beat, hit, meta, metre, midi, rmid, tempo, track

FLATTEN = ReadOptions(tempo_map="flatten")


def one_piece(content, **options):
    """The piece of a file with one, and the remarks of reading it."""
    (piece,), remarks = parse_midi(content, "x.mid", changes="refuse", **options)
    return piece, remarks


# ---------------------------------------------------------------------- tempo


def test_tempos_that_nobody_can_tell_apart_are_one():
    tempos = [tempo(480 * number, 100 + 0.02 * (number % 3)) for number in range(32)]
    piece, remarks = one_piece(midi(track(*tempos, *beat(8))))
    assert len(piece.groove) == 128 and piece.groove.hits.sum() == 96 and remarks == []
    assert piece.groove.tempo_bpm == pytest.approx(100.02, abs=0.005)


@pytest.mark.parametrize(("second", "pieces"), [(100.5, 1), (100.51, 2), (99.51, 1), (99.49, 2)])
def test_half_a_percent_is_the_limit(second, pieces):
    content = midi(track(tempo(0, 100), tempo(1920, second), *beat(2)))
    assert len(parse_midi(content, "x.mid")[0]) == pieces


def test_a_drift_in_small_steps_is_no_single_tempo():
    tempos = [tempo(1920 * bar, 100 + 0.4 * bar) for bar in range(4)]
    assert [
        piece.groove.tempo_bpm for piece in parse_midi(midi(track(*tempos, *beat(4))), "x.mid")[0]
    ] == pytest.approx([100.2, 101.0], abs=0.02)


def test_a_performance_is_followed_by_its_tempo_map():
    """Bars stay those of the file; the tempo lets the piece last as long as it does."""
    tempos = [tempo(480 * number, 80 + 3 * (number % 8)) for number in range(8)]
    content = midi(track(*tempos, *beat(2)))
    with pytest.raises(HypermeterError, match="changes .* --tempo-map flatten"):
        one_piece(content)
    piece, _ = one_piece(content, options=FLATTEN)
    plain, _ = one_piece(midi(track(*beat(2))))
    assert np.array_equal(piece.groove.hits, plain.groove.hits) and not piece.groove.offset.any()
    last = 3360 + 240  # tick of the last hit
    minutes = sum(min(480, last - 480 * number) / 480 / (80 + 3 * number) for number in range(8) if 480 * number < last)
    assert piece.groove.tempo_bpm == pytest.approx(last / 480 / minutes, abs=0.3)


def test_where_tempos_are_one_metres_still_split():
    content = midi(track(tempo(0, 90), tempo(700, 120), metre(1920, 3, 4), *beat(1), *hit(1920)))
    pieces, lines = parse_midi(content, "x.mid", options=FLATTEN)
    assert len(pieces) == 1 and "--metre 3/4" in lines[0]


def test_twenty_thousand_tempos_take_no_time():
    tempos = [tempo(48 * number, 60 + number % 90) for number in range(20_000)]
    (piece,), _ = parse_midi(midi(track(*tempos, *beat(500))), "x.mid", options=FLATTEN)
    assert piece.groove.num_bars == 500


# ---------------------------------------------------------------------- metre


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2/2", "4/4", True),
        ("8/8", "4/4", True),
        ("4/8", "2/4", True),
        ("10/8", "5/4", True),
        ("6/8", "3/4", False),  # beats of three eighths, and of two
        ("12/8", "6/4", False),
        ("6/8", "6/8", True),
        ("2/4", "4/4", False),
    ],
)
def test_metres_whose_bars_are_as_long_and_divide_alike_are_one(one, other, alike):
    assert are_alike(one, other) is are_alike(other, one) is alike


@pytest.mark.parametrize("signature", [(2, 2), (8, 8), (16, 16)])
def test_cut_time_is_read_as_four_quarters_and_told(signature):
    piece, remarks = one_piece(midi(track(metre(0, *signature), *beat(2))))
    name = "{}/{}".format(*signature)
    assert piece.groove.hits.sum() == 24 and piece.groove.grid == Grid()
    assert remarks == [f"metre {name} is read as 4/4, whose bars are as long"]


def test_a_change_from_four_quarters_to_cut_time_is_no_change():
    piece, _ = one_piece(midi(track(metre(0, 4, 4), metre(1920, 2, 2), *beat(2))))
    assert piece.groove.num_bars == 2


@pytest.mark.parametrize("first", [metre(0, 1, 4), metre(0, 3, 4), metre(0, 4, 4)])
def test_a_short_first_bar_is_a_pickup_with_rests_before_it(first):
    ticks = {1: 480, 3: 1440}.get(first[1][3], 480)
    content = midi(track(first, metre(ticks, 4, 4), *hit(ticks - 240, 38), *beat(2, start=ticks)))
    piece, remarks = one_piece(content)
    assert piece.groove.num_bars == 3 and piece.start_tick == ticks - 1920
    assert np.argwhere(piece.groove.hits[:16]).tolist() == [[14, 1]]
    assert piece.groove.hits[16:].sum() == 24
    assert remarks == [
        f"the first bar is short ({ticks / 1920:.2g} of one): it is read as a pickup, with rests before it"
    ]


def test_a_short_first_bar_without_notes_is_left_out():
    piece, remarks = one_piece(midi(track(metre(0, 1, 4), metre(480, 4, 4), *beat(1, start=480))))
    assert (piece.groove.num_bars, piece.start_tick, remarks) == (1, 480, [])


# ---------------------------------------------------------------------- containers and folders


def style(content):
    """A style of a keyboard: MIDI with a CASM chunk after it."""
    return content + b"CASM\0\0\0\x0cCSEG\0\0\0\x04Sdec"


@pytest.fixture
def folder(tmp_path):
    """Files of all kinds, each with another number of bars."""
    source = tmp_path / "source"
    source.mkdir()
    for bars, suffix in enumerate(MIDI_SUFFIXES, 2):
        content = midi(track(meta(0, 6, "Überleitung A".encode("latin-1")), *beat(bars), *hit(60 * bars, 49)))
        wrap = {".rmi": rmid, ".kar": bytes}.get(suffix, style if suffix not in (".mid", ".midi", ".smf") else bytes)
        (source / f"{bars}{suffix.upper() if bars % 2 else suffix}").write_bytes(wrap(content))
    return source


def test_files_of_all_kinds_are_read_alone_and_in_folders(folder, tmp_path):
    count = len(MIDI_SUFFIXES)
    manifest = prepare(folder, tmp_path / "npz", sections=True, quiet=True)
    assert len(manifest["files"]) == count and manifest["rejects"] == []
    assert sorted(record["bars"] for record in manifest["files"]) == list(range(2, count + 2))
    with np.load(next((tmp_path / "npz").rglob("2.npz"))) as arrays:
        assert arrays["section"].tolist() == ["überleitung-a"] * 2
    assert len(list(read_grooves(folder))) == count
    for path in folder.iterdir():
        assert read_midi(path).num_bars == int(path.stem)
    single = prepare(next(folder.glob("*.rmi")), tmp_path / "one", quiet=True)
    assert single["splits"]["train"]["files"] == 1


def test_linked_folders_are_followed_once_and_circles_end(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    for path in (source / "a", elsewhere):
        path.mkdir(parents=True)
        (path / "x.mid").write_bytes(b"")
    for link, target in ((source / "linked", elsewhere), (source / "0", source / "a"), (elsewhere / "up", source)):
        os.symlink(target, link, target_is_directory=True)
    assert files_below(source) == ["a/x.mid", "linked/x.mid"]


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
def test_names_of_files_that_are_not_utf_8_are_no_hindrance(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    try:
        (source / os.fsdecode(b"gr\xfcn.mid")).write_bytes(midi(track(*beat(2))))
    except OSError:
        pytest.skip("the system takes UTF-8 alone")
    assert len(prepare(source, tmp_path / "npz", quiet=True)["files"]) == 1


def test_one_usable_file_goes_to_train_whatever_else_is_there(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(9):
        (source / f"{number}.mid").write_bytes(b"no MIDI")
    (source / "9.mid").write_bytes(midi(track(*beat(2))))
    for seed in range(5):
        manifest = prepare(source, tmp_path / f"npz{seed}", seed=seed, quiet=True)
        assert manifest["splits"]["train"]["files"] == 1 and len(manifest["rejects"]) == 9


# ---------------------------------------------------------------------- tables


def songs(folder, count=4):
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.mid").write_bytes(midi(track(*beat(number + 2), *hit(120 * number + 60, 49))))


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("midi_filename,split,style", "utf-8"),
        ("midi_filename;split;style", "utf-8-sig"),
        ("style\tsplit\tmidi_filename", "utf-16"),
        ("Genre;Subset;File Name", "latin-1"),
        ("path|set|style", "cp932"),
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, header, encoding):
    songs(tmp_path / "in")
    delimiter = next(mark for mark in ",;\t|" if mark in header)
    columns = [name.lower().replace(" ", "_") for name in header.split(delimiter)]
    style_name = {"utf-8": "über", "latin-1": "über", "cp932": "ロック"}.get(encoding, "rock")
    lines = [header]
    for number, split in enumerate(("Training", "val", "test", "test")):
        fields = {"style": style_name, "genre": style_name}
        fields |= dict.fromkeys(("split", "subset", "set"), split)
        fields |= dict.fromkeys(("midi_filename", "file_name", "path"), f"{number}.mid")
        lines.append(delimiter.join(fields[column] for column in columns))
    (tmp_path / "in" / "info.csv").write_bytes("\r\n".join(lines).encode(encoding))
    manifest = prepare(tmp_path / "in", tmp_path / "npz", quiet=True)
    assert [record["split"] for record in manifest["files"]] == ["train", "validation", "test", "test"]
    assert {record["style"] for record in manifest["files"]} == {style_name}
    assert manifest["split_by"] == "info.csv" and manifest["tables"] == {"info.csv": ""}


def test_each_table_governs_its_own_folder(tmp_path, capsys):
    source = tmp_path / "in"
    for name in ("a", "b/c", "free"):
        songs(source / name)
    rows = ["midi_filename,split", *(f"{number}.mid,test" for number in range(4))]
    (source / "a" / "info.csv").write_text("\n".join(rows))
    (source / "b" / "info.csv").write_text("\n".join(["file;split", "c/0.mid;validation", "c/9.mid;train"]))
    manifest = prepare(source, tmp_path / "npz")
    by_source = {record["source"]: record["split"] for record in manifest["files"]}
    assert [by_source[f"a/{number}.mid"] for number in range(4)] == ["test"] * 4
    assert by_source["b/c/0.mid"] == "validation" and "b/c/1.mid" not in by_source
    reasons = {record["source"]: record["reason"] for record in manifest["rejects"]}
    assert "not in b/info.csv" in reasons["b/c/1.mid"] and "add a row" in reasons["b/c/1.mid"]
    assert "in b/info.csv, but not there" in reasons["b/c/9.mid"]
    assert manifest["split_by"] == "info.csv, and seed 0 for 4 files"
    assert all(
        by_source[f"free/{number}.mid"] == by_source[f"a/{number}.mid"] for number in range(1, 4)
    )  # the same music


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "midi_filename,tempo\n0.mid,90\n",
            "info.csv has no column of splits (its columns are 'midi_filename', 'tempo'); name it split",
        ),
        ("a,b\n1,2\n", "no column of file or splits"),
        ("", "it has no rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(tmp_path, capsys, text, reason):
    songs(tmp_path / "in")
    (tmp_path / "in" / "info.csv").write_text(text)
    manifest = prepare(tmp_path / "in", tmp_path / "npz")
    assert reason in manifest["tables"]["info.csv"] and manifest["split_by"] == "seed 0"
    assert "not used: info.csv has no column" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(HypermeterError, match="info.csv has no column"):
        read_table("info.csv", text.encode())


def test_text_is_decoded_by_what_it_can_be():
    for text, encoding in (
        ("grün", "utf-8"),
        ("grün", "latin-1"),
        ("ドラム", "cp932"),
        ("grün", "utf-16"),
        ("“a”", "cp1252"),
    ):
        assert decode_text(text.encode(encoding)).lstrip("\ufeff") == text


# ---------------------------------------------------------------------- prepare's options


def test_prepare_takes_the_options_of_reading_and_begins_anew_with_others(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.mid").write_bytes(midi(track(*beat(2)), track(*beat(3, channel=2), name="Live")))
    manifest = prepare(source, tmp_path / "npz")
    assert manifest["files"][0]["bars"] == 2 and "options" not in manifest
    named = prepare(source, tmp_path / "npz", options=ReadOptions(track="live"))
    assert named["files"][0]["bars"] == 3 and named["options"]["track"] == "live"
    assert "1 of them done before" not in capsys.readouterr().out
    prepare(source, tmp_path / "npz", options=ReadOptions(track="live"))
    assert "1 of them done before" in capsys.readouterr().out


def test_the_summary_tells_how_drums_were_found(tmp_path, capsys):
    source = tmp_path / "in"
    songs(source, 2)
    (source / "clip.mid").write_bytes(midi(track(*beat(3, channel=1))))
    manifest = prepare(source, tmp_path / "npz")
    assert [record["remarks"] for record in manifest["files"]][2] == [
        "no drums on channel 10; all notes, of channel 1, look like a drum kit"
    ]
    assert "1 x no drums on channel 10; all notes" in " ".join(capsys.readouterr().out.split())


def test_files_written_again_have_the_same_ticks():
    piece, _ = one_piece(midi(track(tempo(0, 100), *beat(2), *hit(130, 38))))
    again, _ = one_piece(to_midi_bytes(piece.groove))
    assert np.array_equal(again.groove.hits, piece.groove.hits)


def test_one_map_is_chosen_for_all_files_of_a_folder(tmp_path, capsys):
    """Groups of a kit of Addictive Drums 2: hi-hats on 49 to 57, toms from 65 on."""
    source = tmp_path / "in"
    source.mkdir()
    pitches = [36, 38, 48, 49, 55, 60, 65, 69, 71, 77]
    for number in range(3):
        hits = [event for place, pitch in enumerate(pitches * 3) for event in hit(120 * place + 240 * number, pitch)]
        (source / f"AD2 {number}.mid").write_bytes(midi(track(*hits)))
    for kit, options in (("auto", ReadOptions()), ("gm10", ReadOptions(map="auto"))):
        manifest = prepare(source, tmp_path / f"npz-{kit}", kit=kit, options=options)
        assert manifest["kit"] == "gm10:addictive2" and manifest["unmapped"] == {}
        assert "kit gm10:addictive2 (" in capsys.readouterr().out


def test_a_quarter_may_be_one_tick():
    piece, _ = one_piece(midi(track(*[event for tick in range(8) for event in hit(tick, length=1)]), division=1))
    assert np.flatnonzero(piece.groove.hits[:, 0]).tolist() == list(range(0, 32, 4))


def test_a_change_of_metre_is_not_to_be_flattened():
    content = midi(track(metre(0, 4, 4), metre(1920, 3, 4), *beat(2)))
    with pytest.raises(HypermeterError, match="cut the file there") as error:
        parse_midi(content, "x.mid", changes="refuse")
    assert "flatten" not in str(error.value)


def test_a_report_names_the_file(tmp_path):
    (tmp_path / "noise.mid").write_bytes(b"noise")
    with pytest.raises(HypermeterError, match=r"noise\.mid: not a MIDI file"):
        read_midi_report(tmp_path / "noise.mid")
