"""The benchmark of reading in benchmarks/reading/: its readers, its drawing of files, and its tables."""

import importlib.util
import sys
from pathlib import Path

import pytest
import symusic

FOLDER = Path(__file__).parents[1] / "benchmarks" / "reading"


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"benchmark_reading_{name}", FOLDER / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reader = script("hypermeter_reader")
run = script("run")
tables = script("tables")

BAR = [(step * 120, pitch) for step in range(0, 16, 2) for pitch in ([42, 36] if step % 8 == 0 else [42, 38])]


def content(notes, channel=9, name="", sysex=(), form=0):
    """Return a MIDI file of 480 ticks a quarter with (tick, pitch) on a channel."""
    track = [b"\x00\xff\x03" + bytes([len(name)]) + name.encode()]
    track += [b"\x00\xf0" + bytes([len(body)]) + body for body in sysex]
    now = 0
    for tick, pitch in sorted(notes):
        delta = tick - now
        track.append(bytes([0x80 | delta >> 7, delta & 127, 0x90 | channel, pitch, 90]))
        track.append(bytes([0x0A, 0x80 | channel, pitch, 0]))
        now = tick + 10
    body = b"".join(track) + b"\x00\xff\x2f\x00"
    header = b"MThd\0\0\0\6" + form.to_bytes(2, "big") + b"\0\1\1\xe0"
    return header + b"MTrk" + len(body).to_bytes(4, "big") + body


def spaced(notes):
    """Return notes of which no two share a tick, so that `content` writes them in order."""
    return [(tick + 11 * index, pitch) for index, (tick, pitch) in enumerate(sorted(notes))]


@pytest.fixture
def answer(tmp_path):
    def read(midi):
        path = tmp_path / "beat.mid"
        path.write_bytes(midi)
        return reader.read(str(path))

    return read


def test_each_step_of_the_policy_is_told_from_the_others(answer):
    notes = spaced(BAR)
    gs = bytes.fromhex("4110421240111501" + "19f7")
    steps = {
        "channel 10": answer(content(notes)),
        "by the names": answer(content([(0, 36)], channel=0, name="Drums")),
        "by pitches": answer(content(notes, channel=0)),
        "messages": answer(content(notes, channel=0, sysex=[gs])),
    }
    for words, result in steps.items():
        assert words in result["step"], result
    assert steps["by pitches"]["hits"] == len(notes)
    assert steps["by pitches"]["voiced"]["gm10"] == len(notes)


def test_a_file_without_drums_says_how_many_notes_a_named_channel_would_read(answer):
    result = answer(content([(0, 60), (480, 64)], channel=3))
    assert (result["hits"], result["named"], result["opened"]) == (0, 2, True)


def test_a_damaged_file_is_not_opened_and_says_why(answer):
    assert not answer(b"not MIDI at all")["opened"]
    assert "MThd" in answer(b"not MIDI at all")["why"]


def test_another_metre_is_read_with_the_option_that_the_refusal_names(answer):
    score = symusic.Score.from_midi(content(spaced(BAR)))
    score.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    result = answer(score.dumps_midi())
    assert (result["reason"], result["kept_by"]) == ("another metre than 4/4", "--metre")


def test_a_reader_that_hangs_or_dies_costs_one_file(tmp_path):
    code = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    if 'hang' in line: time.sleep(60)\n"
        "    if 'die' in line: sys.exit(1)\n"
        '    print(\'{"opened": true, "hits": 1}\', flush=True)\n'
    )
    child = run.Reader([sys.executable, "-c", code], seconds=2)
    try:
        answers = [child.read(Path(name)) for name in ("a", "hang", "b", "die", "c")]
    finally:
        child.close()
    assert [result["opened"] for result in answers] == [True, False, True, False, True]
    assert "longer than 2 s" in answers[1]["why"]
    assert "ends the process" in answers[3]["why"]


def test_a_content_is_read_once_and_folders_beside_count_their_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "sources.csv").write_text("kind,repository,pattern\nsongs,a/b,*.mid\nsongs,c/d,*\n", "utf-8")
    monkeypatch.setattr(run, "HERE", tmp_path)
    for folder in ("corpus/a+b/deep", "beside"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("one.mid", "two.mid", "three.kar", "four.txt"):
            (tmp_path / folder / name).write_bytes(name[:2].encode())
    (tmp_path / "corpus/a+b/again.mid").write_bytes(b"on")
    files = list(run.files_of(tmp_path / "corpus", [tmp_path / "beside"], most=10))
    assert [(kind, path.name) for kind, _, path in files] == [
        ("songs", "again.mid"),
        ("songs", "two.mid"),
        ("beside", "one.mid"),
        ("beside", "three.kar"),
        ("beside", "two.mid"),
    ]
    assert "c+d" in capsys.readouterr().err
    assert len(list(run.files_of(tmp_path / "corpus", [], most=1))) == 1


def test_tables_count_files_by_kind_and_in_all():
    drums = {"opened": True, "hits": 4}
    none = {"opened": False, "hits": 0}
    hypermeter = drums | {
        "step": "channel 10 of General MIDI",
        "voiced": dict.fromkeys(("gm10", "gm16", "gm10:auto", "gm16:auto"), 3),
        "reason": "",
        "clarity": 0.9,
        "grid": "straight",
        "shift": -0.1,
        "shift_ms": -12.0,
    }
    others = {"mido": drums, "pretty_midi": none, "miditok": none | {"opened": True}}
    files = [
        {"kind": "songs", "source": "a/b", "hypermeter": hypermeter, **others},
        {"kind": "beside", "source": "beside", "hypermeter": hypermeter, **others},
    ]
    lines = tables.markdown({"files": files, "versions": {"mido": "1.3.3"}}).splitlines()
    assert "| songs | 1 | 1 of 1 | 1 of 1 | 0 of 0 | 0 of 1 |" in lines
    assert "| **all** | 1 | 1 of 1 | 1 of 1 | 0 of 0 | 0 of 1 |" in lines
    assert "| channel 10 of General MIDI | 1 | 4 | 4 | 0 |" in lines
    assert "| songs | 1 | 4 | 25.0 % | 25.0 % | 25.0 % | 25.0 % |" in lines
    assert "| songs | 1 | 100.0 % | 100.0 % | 0.0 % | 0.0 % | 100.0 % | -12 ms |" in lines
