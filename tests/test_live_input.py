"""What comes into live play and what goes out beside MIDI: maps of controls, ports that go, replies, recorded input."""

import os
import queue
import socket
import threading
import time
from functools import partial

import mido
import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

import hypermeter
from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.play.plan import Plan
from hypermeter.share.live import LiveConditions, LiveSettings, OwnTempo, RealClock, SimulatedClock
from hypermeter.share.live.asking import QUESTIONS, answer
from hypermeter.share.live.conditions import CONTROLS
from hypermeter.share.live.control_map import add_to_map, key_text, parse_key, parse_map, read_map, read_message
from hypermeter.share.live.hearing import Ear
from hypermeter.share.live.input_file import read_input, write_input
from hypermeter.share.live.kept_ports import KeptInput
from hypermeter.share.live.learning import learn_controls, waiting
from hypermeter.share.live.osc import OscSink, open_osc_server, parse_address
from hypermeter.share.live.output import Sinks
from hypermeter.share.live.ports import VIRTUAL, open_input, open_output, port_names
from live_parts import GRID, KIT, LABELS, Memory, Steady, engine_of

# ---------------------------------------------------------------------- maps of controls

MAP = """
# the pedal board
cc 64: fill
cc 65: fill 0
cc 1: density 0..0.3
cc 74: temperature
cc 7 channel 2: bias/ride -3..3
cc 7: offbeat
note 36: section/verse
note 37 channel 10: section bridge
note 38: density plan
note 39: density 0.1
note 40: guidance
program 1: style/rock
program 5: answer/complement
bend: swing
pressure: tempo 80..120
"""


@pytest.mark.parametrize(
    ("message", "actions"),
    [
        ((0xB0, 64, 127), [("/fill", (1,))]),
        ((0xB0, 64, 63), []),
        ((0xB5, 65, 64), [("/fill", (0.0,))]),
        ((0xB0, 1, 0), [("/density", (0.0,))]),
        ((0xB0, 1, 127), [("/density", (0.3,))]),
        ((0xB0, 74, 127), [("/temperature", (1.5,))]),
        ((0xB1, 7, 127), [("/bias/ride", (3.0,))]),
        ((0xB2, 7, 127), [("/offbeat", (1.0,))]),
        ((0x92, 36, 1), [("/section/verse", (1,))]),
        ((0x92, 36, 0), []),
        ((0x82, 36, 64), []),
        ((0x99, 37, 90), [("/section", ("bridge",))]),
        ((0x90, 37, 90), None),  # another channel than its map's: a note to answer
        ((0x90, 38, 90), [("/density", ())]),
        ((0x90, 39, 90), [("/density", (0.1,))]),
        ((0x90, 40, 127), [("/guidance", (4.0,))]),
        ((0x80, 40, 0), []),
        ((0xC0, 0), [("/style/rock", (1,))]),
        ((0xC3, 4), [("/answer/complement", (1,))]),
        ((0xC0, 9), None),
        ((0xE0, 127, 127), [("/swing", (0.75,))]),
        ((0xD0, 0), [("/tempo", (80.0,))]),
        ((0xA0, 36, 9), None),
        ((0xB0, 2, 9), None),
    ],
)
def test_messages_do_what_the_map_says(message, actions):
    assert parse_map(MAP, "map").actions(message) == actions


def test_a_pedal_acts_once_for_each_press():
    controls = parse_map(MAP, "map")
    values = (0, 30, 64, 90, 127, 80, 63, 0, 127)
    assert [len(controls.actions((0xB0, 64, value))) for value in values] == [0, 0, 1, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cc 128: fill", "'cc 128' is no control; expected cc 0 to 127"),
        ("knob 1: fill", "'knob 1' is no control"),
        ("program 0: fill", "program 1 to 128"),
        ("cc 1 channel 17: fill", "channel 1 to 16"),
        ("cc 1: loudness", "cc 1: 'loudness' names no control; expected fill, section/verse"),
        ("cc 1:", "None names no control"),
        ("cc 1: density 0..2", "density is 2, expected from 0 to 1"),
        ("cc 1: density 0..high", "expected two numbers, as density 0..0.3"),
        ("cc 1: bias", "expected a voice and a number"),
        ("cc 1: tempo 10..90", "tempo_bpm is 10, expected from 20 to 400"),
        ("cc 1: answer/loud", "expected follow, complement or off"),
        ("program 1: density", "a program has no range, expected one value, as density 0.4"),
        ("note 1: section a:b", "expected a label"),
        ("cc 1: fill\ncc 1: fill 0", "not YAML at line 1 .cc 1 is there twice.; expected lines as cc 64: fill"),
        ("cc 1: fill\ncc  1: fill 0", "cc 1 is there twice"),
        ("- fill", "expected lines as cc 64: fill"),
        ("cc 1: [", "not YAML"),
    ],
)
def test_a_map_with_a_mistake_is_refused_in_a_line_with_its_name_and_key(text, words):
    with pytest.raises(HypermeterError, match=words) as caught:
        parse_map(text, "board.yaml")
    assert str(caught.value).startswith("board.yaml") and "\n" not in str(caught.value)


def test_keys_are_read_as_they_are_written():
    for key in parse_map(MAP, "map").targets:
        assert parse_key(key_text(key), "map") == key


def test_a_mapped_control_changes_the_settings_and_is_no_rhythm():
    clock = SimulatedClock(0.02)
    ear = Ear(GRID, 4, controls=parse_map("note 36: fill\ncc 1: density 0..0.5\nprogram 2: style/jazz", "map"))
    lines, conditions = [], LiveConditions(LABELS, Plan.free(1))

    class Fills(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0, heard=None):
            fills.append(int(row.labels[0, 0, 2]))
            assert not heard.strength.any()
            return super().sample(state, steps, settings, row, tempo_bpm)

    fills = []
    options = {"conditions": conditions, "sampler": Fills(), "ahead_steps": 4, "report": lines.append}
    engine = engine_of(clock, Memory(), num_bars=4, ear=ear, **options)
    for message in ((0x90, 36, 100), (0xB0, 1, 127), (0xC0, 1), (0x90, 36, 0)):
        clock.at(1.5, partial(engine.hear, message))
    engine.run()
    assert (engine.settings.fill, engine.settings.density, engine.settings.style) == (True, 0.5, "jazz")
    assert 2 in fills and ear.notes == 0 and not lines


# ---------------------------------------------------------------------- learning


def learnt(path, targets, messages):
    said, source = [], iter(messages)
    learn_controls(targets, path, lambda: next(source), said.append)
    return said


def test_controls_are_learnt_one_after_the_other_and_written_into_the_map(tmp_path):
    path = tmp_path / "board.yaml"
    path.write_text("# my board\ncc 1: offbeat  # the wheel\ncc 2: fill\n")
    messages = [
        (0xF8,),
        (0x80, 60, 0),
        (0xB0, 64, 0),  # a pedal at rest
        (0xB0, 64, 127),
        (0xB0, 64, 0),
        (0xB0, 64, 127),  # it is learnt already
        (0xC0, 3),  # a program has no range
        (0xB0, 1, 40),
        (0xC0, 3),
    ]
    said = learnt(path, ["fill", "density 0..0.3", "style/funk"], messages)
    assert path.read_text() == (
        "# my board\ncc 1: offbeat  # the wheel\ncc 2: fill\ncc 64 channel 1: fill\ncc 1 channel 1: density 0..0.3\n"
        "program 4 channel 1: style/funk\n"
    )
    assert "fill: press or move its control" in said[0] and said[1] == "cc 64 channel 1: fill"
    assert "has no range" in said[3] and len(read_map(path).targets) == 5
    learnt(path, ["fill"], [(0xB0, 1, 99)])  # in place of the line with its key
    assert "cc 1 channel 1: fill\n" in path.read_text() and "density" not in path.read_text()


def test_a_map_is_made_where_there_is_none_and_a_mistake_is_told_before_anything_is_asked(tmp_path):
    path = tmp_path / "new.yaml"
    learnt(path, ["answer/off"], [(0x93, 36, 9)])
    assert path.read_text() == "note 36 channel 4: answer/off\n"
    with pytest.raises(HypermeterError, match="--learn: 'volume' names no control"):
        learnt(path, ["fill", "volume"], [])
    path.write_text("nonsense")
    with pytest.raises(HypermeterError, match="expected lines as cc 64: fill"):
        learnt(path, ["fill"], [])
    with pytest.raises(HypermeterError, match="expected lines as"):
        add_to_map(path, ("cc", 1, None), "fill")
    assert path.read_text() == "nonsense"


def test_waiting_for_a_control_ends_once_there_is_one():
    messages = queue.SimpleQueue()
    messages.put((0xB0, 1, 2))
    assert waiting(messages) == (0xB0, 1, 2) and read_message((0xB0, 1, 127)) == (("cc", 1, 1), 1.0)


# ---------------------------------------------------------------------- ports that come and go


class Cable:
    """A port in place of mido's backend."""

    opened = []

    def __init__(self, name, callback=None, **_):
        self.name, self.callback, self.is_closed = name, callback, False
        Cable.opened.append(self)

    def close(self):
        self.is_closed = True


@pytest.fixture
def inputs(monkeypatch):
    """The names of the inputs that there are, to change."""
    names = ["Keys 20:0", "Pads 24:0"]
    Cable.opened = []
    monkeypatch.setenv("MIDO_BACKEND", "none")
    monkeypatch.setattr(mido, "get_input_names", lambda: names)
    monkeypatch.setattr(mido, "open_input", Cable)
    return names


def test_an_input_that_goes_is_opened_again_when_it_is_back_under_another_number(inputs):
    lines, got = [], []
    kept = KeptInput("keys", got.append, lines.append, every_s=60)
    kept.look()
    Cable.opened[0].callback(mido.Message("note_on", note=60, velocity=90))
    assert got == [(0x90, 60, 90)] and not lines
    inputs.remove("Keys 20:0")
    for _ in range(3):
        kept.look()
    assert Cable.opened[0].is_closed and len(lines) == 1 and "Keys 20:0: the MIDI input is gone" in lines[0]
    inputs.append("Keys 28:0")
    for _ in range(3):
        kept.look()
    Cable.opened[-1].callback(mido.Message("control_change", control=64, value=127))
    assert got[-1] == (0xB0, 64, 127) and lines[1] == "Keys 28:0: the MIDI input is back" and len(lines) == 2
    assert len(Cable.opened) == 2
    kept.close()
    assert Cable.opened[-1].is_closed


def test_the_ports_are_looked_at_again_and_again_until_it_is_closed(inputs):
    lines = []
    kept = KeptInput("keys", print, lines.append, every_s=0.01)
    inputs.clear()
    deadline = time.monotonic() + 5
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    kept.close()
    assert len(lines) == 1 and "gone" in lines[0]


def test_an_input_that_cannot_be_opened_again_yet_is_tried_later(inputs, monkeypatch):
    lines = []
    kept = KeptInput("keys", print, lines.append, every_s=60)
    inputs.clear()
    kept.look()
    inputs.append("Keys 30:0")
    monkeypatch.setattr(mido, "open_input", lambda *_, **__: 1 / 0)
    kept.look()
    monkeypatch.setattr(mido, "open_input", Cable)
    kept.look()
    kept.close()
    assert [line.split()[-1] for line in lines] == ["back", "back"] and Cable.opened[-1].name == "Keys 30:0"


# ---------------------------------------------------------------------- OSC: replies, notes


def message_of(address, *values):
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build().dgram


@pytest.fixture
def udp():
    """A socket that receives: its port, and a function that returns what it gets as address and values."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(5)

    def receive():
        message = OscMessage(receiver.recv(65536))
        return message.address, *message.params

    yield receiver, receive
    receiver.close()


def asked_engine(**options):
    settings = LiveSettings(style="rock", bias={"ride": -2.0}, density=0.25, fill=False)
    conditions = LiveConditions(LABELS, Plan.free(1))
    return engine_of(SimulatedClock(0.01), Memory(), settings=settings, conditions=conditions, **options)


def test_what_can_be_asked_is_answered_in_the_form_that_sets_it():
    engine = asked_engine()
    assert answer(engine, "tempo") == [("tempo", (120.0,))] and answer(engine, "style") == [("style", ("rock",))]
    assert answer(engine, "bias") == [("bias", ("ride", -2.0))] and answer(engine, "fill") == [("fill", (0,))]
    assert answer(engine, "section") == [("section", ())]  # that of the plan
    assert answer(engine, "styles") == [("styles", ("rock", "jazz"))]
    assert answer(engine, "voices") == [("voices", KIT.names)] and answer(engine, "metre") == [("metre", ("4/4",))]
    assert answer(engine, "state") == [("state", ("waiting", 0))] and answer(engine, "heard") == [("heard", (0, 0))]
    assert [name for name, _ in answer(engine)] == [*CONTROLS, *QUESTIONS]
    with pytest.raises(HypermeterError, match="OSC /get colour: expected one of temperature"):
        answer(engine, "colour")


def test_answers_are_those_of_the_moment():
    engine, got = asked_engine(num_bars=3, ear=Ear(GRID, 16)), []
    engine.clock.at(1.0, lambda: engine.control("/tempo", 90))
    engine.clock.at(1.1, lambda: engine.hear((0x90, 60, 90)))
    engine.clock.at(1.2, lambda: engine.control("/section", "verse"))
    engine.clock.at(4.0, lambda: got.extend(answer(engine)))
    engine.run()
    told = dict(got)
    assert told["tempo"] == (90.0,) and told["state"] == ("playing", 2) and told["section"] == ("verse",)
    assert told["heard"] == (1, 0) and told["sections"] == ("verse",) and told["timing"][0] > 10


def test_replies_come_back_to_who_asks_or_to_the_port_that_is_named(udp):
    receiver, receive = udp
    lines, controls, engine = [], [], asked_engine()
    server = open_osc_server(
        "127.0.0.1", 0, lambda *values: controls.append(values), lines.append, partial(answer, engine)
    )
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        receiver.sendto(message_of("/get", "tempo"), server.server_address)
        assert receive() == ("/hypermeter/tempo", 120.0)
        receiver.sendto(message_of("/hypermeter/get/styles"), server.server_address)
        assert receive() == ("/hypermeter/styles", "rock", "jazz")
        sender.sendto(message_of("/get/density", receiver.getsockname()[1]), server.server_address)
        assert receive() == ("/hypermeter/density", 0.25)
        receiver.sendto(message_of("/get"), server.server_address)
        names = [receive()[0] for _ in (*CONTROLS, *QUESTIONS)]
        assert names == [f"/hypermeter/{name}" for name in (*CONTROLS, *QUESTIONS)]
        for wrong in (("/get", "colour"), ("/get", 1.5), ("/get", "tempo", 70_000)):
            sender.sendto(message_of(*wrong), server.server_address)
        sender.sendto(message_of("/density", 0.5), server.server_address)
        deadline = time.monotonic() + 5
        while not controls and time.monotonic() < deadline:
            time.sleep(0.01)
        assert controls == [("/density", 0.5)] and len(lines) == 3
        assert "/get colour: expected one of" in lines[0] and "OSC /get: 1.5, expected a name" in lines[1]
        assert "OSC /get: 70000" in lines[2]
    finally:
        sender.close()
        server.shutdown()
        server.server_close()


def test_notes_go_out_by_osc_as_well_as_by_midi(udp):
    receiver, receive = udp
    memory, sink = Memory(), OscSink(str(receiver.getsockname()[1]), KIT)
    engine_of(SimulatedClock(0.01), Sinks(memory, sink), num_bars=1).run()
    sink.close()
    sent = [message for _, message in memory.sent if message[0] & 0xF0 in (0x80, 0x90)]
    voices = {voice.write: voice.name for voice in KIT.voices}
    assert len(sent) == 40
    for kind, pitch, velocity in sent:
        on = kind & 0xF0 == 0x90
        assert receive() == ("/hypermeter/note", voices[pitch], pitch, velocity if on else 0)


def test_notes_that_cannot_be_sent_are_reported_once_and_the_music_continues(udp, monkeypatch):
    lines, memory = [], Memory()
    sink = OscSink(f"127.0.0.1:{udp[0].getsockname()[1]}", KIT, lines.append)

    class Broken:
        def sendto(self, *_):
            raise OSError(101, "Network is unreachable")

    sink._socket.close()
    sink._socket = Broken()
    assert engine_of(SimulatedClock(0.01), Sinks(sink, memory), num_bars=2).run().notes == 40
    assert len(lines) == 1 and "notes cannot be sent (Network is unreachable); the music continues" in lines[0]


@pytest.mark.parametrize("text", ["nine", "host:", "", "9000x", "0", "127.0.0.1:70000"])
def test_an_address_without_a_port_is_refused(text):
    with pytest.raises(HypermeterError, match=r"osc-out: .* expected"):
        OscSink(text, KIT)


def test_an_address_is_of_this_machine_unless_it_names_another():
    assert parse_address("9000", "osc") == ("127.0.0.1", 9000)
    assert parse_address("0.0.0.0:9000", "osc") == ("0.0.0.0", 9000)


# ---------------------------------------------------------------------- recorded input


def test_recorded_input_is_read_as_it_was_written(tmp_path):
    recorded = [
        (0, (0x90, 60, 100)),
        (1, (0x80, 60, 0)),
        (1, (0xB3, 64, 127)),
        (38_401, (0xC0, 5)),
        (40_000, (0xE0, 1, 2)),
    ]
    write_input(tmp_path / "in.mid", recorded, GRID, 97.0)
    assert read_input(tmp_path / "in.mid") == recorded
    metas = {message.type: message for message in mido.MidiFile(tmp_path / "in.mid").tracks[0] if message.is_meta}
    assert mido.tempo2bpm(metas["set_tempo"].tempo) == pytest.approx(97, abs=1e-3)


def test_any_midi_file_is_heard_by_its_beats(tmp_path):
    tracks = [
        mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000), mido.Message("note_on", note=60, time=240)]),
        mido.MidiTrack([mido.Message("note_on", note=40, channel=9, time=480), mido.Message("sysex", data=(1, 2))]),
    ]
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=tracks).save(tmp_path / "song.mid")
    assert read_input(tmp_path / "song.mid") == [(4800, (0x90, 60, 64)), (9600, (0x99, 40, 64))]


@pytest.mark.parametrize("content", [b"", b"no MIDI", b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\x90"])
def test_what_is_no_midi_file_is_refused(tmp_path, content):
    (tmp_path / "x.mid").write_bytes(content)
    with pytest.raises(HypermeterError, match="x.mid: ") as caught:
        read_input(tmp_path / "x.mid")
    assert "\n" not in str(caught.value)


def test_a_file_with_times_in_seconds_is_refused(tmp_path):
    mido.MidiFile(type=0, ticks_per_beat=480, tracks=[mido.MidiTrack()]).save(tmp_path / "x.mid")
    content = bytearray((tmp_path / "x.mid").read_bytes())
    content[12:14] = b"\xe7\x28"  # 25 frames of 40 ticks a second
    (tmp_path / "x.mid").write_bytes(content)
    with pytest.raises(HypermeterError, match="times in seconds, expected beats"):
        read_input(tmp_path / "x.mid")


# ---------------------------------------------------------------------- the command


def refused(capsys, *arguments):
    assert cli.main(["play", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.fixture
def taps(tmp_path):
    """A file of taps: five a bar in four bars, of different loudness, and a pedal in the second."""
    recorded = [
        (bar * 38_400 + step * 2_400 + 100, (0x90, 40, 60 + 5 * step)) for bar in range(4) for step in (0, 3, 6, 10, 12)
    ]
    recorded.append((50_000, (0xB0, 64, 127)))
    write_input(tmp_path / "taps.mid", recorded, GRID, 120.0)
    return tmp_path / "taps.mid"


def test_the_command_answers_a_recorded_input_and_gives_the_same_again(capsys, tmp_path, taps, monkeypatch):
    monkeypatch.setattr("hypermeter.share.live.SimulatedClock", partial(SimulatedClock, 0.01))  # on a busy machine too
    controls = tmp_path / "board.yaml"
    controls.write_text("cc 64: fill\nprogram 3: style/jazz\n")
    out, again, record = (tmp_path / name for name in ("out.mid", "again.mid", "record.mid"))
    common = ["--bars", "5", "--simulate", "--seed", "4", "--map", str(controls)]
    assert cli.main(["play", str(out), *common, "--listen", str(taps), "--record", str(record)]) == 0
    assert "heard 20 notes" in capsys.readouterr().out
    assert read_input(record) == read_input(taps)
    assert cli.main(["play", str(again), *common, "--listen", str(record)]) == 0
    assert out.read_bytes() == again.read_bytes()
    groove = hypermeter.read_midi(out, options=ReadOptions(shift="keep"))
    loud = [0, 1, 5, 6, 7, 8]
    assert groove.hits.reshape(-1, 16, 10)[1:5, [0, 3, 6, 10, 12]][..., loud].any(2).all()
    assert cli.main(["play", str(again), *common[:-2], "--listen", str(taps), "--answer", "complement"]) == 0
    room = hypermeter.read_midi(again, options=ReadOptions(shift="keep"))
    assert room.hits.reshape(-1, 16, 10)[1:5, [0, 3, 6, 10, 12]][..., loud].any(2).mean() < 0.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--answer", "follow"], "--answer without an input, expected --listen PORT beside it"),
        (["--map", "x.yaml"], "--map without an input"),
        (["--listen", "keys", "--simulate", "--bars", "2"], "expected recorded input: --listen FILE.mid"),
        (["--listen", "keys", "--learn", "fill"], "--learn without controls or a file, expected --map FILE.yaml"),
        (["--listen", "a.mid", "--map", "x.yaml", "--learn", "fill"], "controls are learnt from a device"),
        (["--listen", "a.mid", "--follow", "b", "--record", "c.mid"], "--record beside --follow"),
        (["--listen", "a.mid", "--record", "a.mid"], "a.mid"),
        (["--listen", "a.mid", "--record", "out.mid"], "the file of the drums, expected another one"),
        (["--listen", "a.mid", "--record", "c.txt"], "c.txt"),
        (["--listen", "a.mid", "--map", "none.yaml"], "none.yaml: the map cannot be read"),
        (["--listen", "none.mid"], "none.mid: cannot be read"),
        (["--listen", "none.mid", "--answering", "gong"], "no voice 'gong'"),
        (["--osc-out", "nine"], "osc-out: 'nine'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mid").write_bytes(b"")
    simulate = [] if "--simulate" in arguments or "--follow" in arguments else ["--simulate", "--bars", 2]
    assert words in refused(capsys, "out.mid", *arguments, *simulate) and not (tmp_path / "out.mid").exists()


def test_a_map_that_names_what_the_model_does_not_have_is_refused_before_it_plays(capsys, tmp_path, taps):
    controls = tmp_path / "board.yaml"
    for line, words in (
        ("cc 1: style/polka", "board.yaml: cc 1: style: no 'polka'"),
        ("cc 1: bias/gong", "no voice 'gong'"),
    ):
        controls.write_text(line)
        arguments = ["--listen", taps, "--map", controls, "--simulate", "--bars", 2]
        assert words in refused(capsys, tmp_path / "out.mid", *arguments)


def test_a_wrong_input_is_refused_with_those_there_are(capsys, inputs, tmp_path):
    message = refused(capsys, tmp_path / "out.mid", "--listen", "drum pad", "--bars", 1)
    assert "drum pad: no MIDI input; inputs are: Keys 20:0, Pads 24:0" in message


def test_the_command_learns_a_control_without_a_port_to_play_to(capsys, inputs, tmp_path, monkeypatch):
    class Pressed(Cable):
        def __init__(self, name, callback=None, **options):
            super().__init__(name, callback, **options)
            callback(mido.Message("control_change", control=64, value=127))

    monkeypatch.setattr(mido, "open_input", Pressed)
    path = tmp_path / "board.yaml"
    assert cli.main(["play", "--listen", "keys", "--map", str(path), "--learn", "fill"]) == 0
    assert path.read_text() == "cc 64 channel 1: fill\n" and "press or move" in capsys.readouterr().out
    assert Cable.opened[-1].is_closed


# ---------------------------------------------------------------------- for real, where the machine has a sequencer


@pytest.mark.skipif(
    not os.path.exists("/dev/snd/seq"), reason="no ALSA sequencer (/dev/snd/seq): modprobe snd-seq makes it"
)
def test_taps_through_virtual_ports_come_back_as_drums_a_bar_later():
    """A keyboard that taps into a virtual input, and a synthesizer that hears a virtual output."""
    from test_live_answer import Echo

    got = []
    sink = open_output(VIRTUAL)
    hears = open_input(next(name for name in port_names("input") if "Hypermeter output" in name), got.append)
    tempo = OwnTempo(240.0, 4)
    engine = engine_of(RealClock(), sink, tempo, sampler=Echo(), ahead_steps=4, ear=Ear(GRID, 4), num_bars=3)
    kept = KeptInput(VIRTUAL, engine.hear)
    taps = mido.open_output(next(name for name in port_names("output") if "Hypermeter input" in name))

    def play():
        while engine.begun_s is None:
            time.sleep(0.001)
        for step in (3, 6, 10):
            time.sleep(max(engine.begun_s + step * 60 / 240 / 4 - time.perf_counter(), 0))
            taps.send(mido.Message("note_on", note=40, velocity=50 + step))

    thread = threading.Thread(target=play)
    thread.start()
    try:
        engine.run()
        thread.join(5)
        time.sleep(0.1)
    finally:
        for port in (kept, taps, hears, sink):
            port.close()
    assert [message[2] for message in got if message[0] == 0x99] == [53, 56, 60]
