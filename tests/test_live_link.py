"""Ableton Link: a session as the messages of a MIDI clock, and two processes in one session."""

import bisect
import subprocess
import sys
import time

import pytest

from hypermeter.cli import main
from hypermeter.share.live import FollowedTempo, SimulatedClock
from hypermeter.share.live.engine import CLOCK, SONG_POSITION, START, STOP
from hypermeter.share.live.link import LinkInput, LinkSession, LinkTicks
from live_parts import GRID, Memory, engine_of

BAR = 4.0
"""Quarter notes."""


class FakeSession:
    """A session by what happens in it: time -> tempo and beat from there on."""

    def __init__(self, tempo_bpm=120.0, beat=0.3):
        self.now_s, self.is_playing = 0.0, False
        self.pieces = [(0.0, beat, tempo_bpm)]

    def change(self, tempo_bpm=None, by_beats=0.0):
        """From now on another tempo, or the same some beats on."""
        beat = self.beat_at(self.now_s) + by_beats
        self.pieces.append((self.now_s, beat, tempo_bpm or self.pieces[-1][2]))

    def _piece(self, time_s):
        return self.pieces[max(bisect.bisect_right([piece[0] for piece in self.pieces], time_s) - 1, 0)]

    def beat_at(self, time_s):
        start, beat, tempo_bpm = self._piece(time_s)
        return beat + (time_s - start) * tempo_bpm / 60

    def time_of(self, beat):
        start, first, tempo_bpm = self.pieces[-1]
        return start + (beat - first) * 60 / tempo_bpm


def messages_of(session, mode, seconds, events=(), every_s=0.004):
    """Return (time of the look, message, its time) of looks at a session; events are (time, what happens)."""
    ticks, found, events = LinkTicks(session, BAR, mode), [], list(events)
    while session.now_s < seconds:
        while events and events[0][0] <= session.now_s:
            events.pop(0)[1]()
        found += [(session.now_s, message, when) for message, when in ticks.due()]
        session.now_s += every_s
    return found


def times(found, status):
    return [when for _, message, when in found if message[0] == status]


def test_a_session_has_24_ticks_a_quarter_at_their_exact_times_and_starts_on_a_bar_line():
    session = FakeSession(90.0, beat=1.3)
    found = messages_of(session, "tempo", 10.0)
    beats = [session.beat_at(when) * 24 for when in times(found, CLOCK)]
    assert beats == pytest.approx([32 + number for number in range(len(beats))], abs=1e-6)
    assert len(beats) == int(session.beat_at(session.now_s - 0.004) * 24) - 31
    (start,) = times(found, START)
    assert start == pytest.approx(session.time_of(4)) and start > 1  # after a second in which others are found
    place = [message[0] for _, message, _ in found].index(START)
    assert found[place + 1][1:] == ((CLOCK,), start)


def test_with_transport_the_song_starts_and_stops_with_the_session():
    session = FakeSession(120.0, beat=0.0)
    found = messages_of(
        session,
        "transport",
        12.0,
        [(3.1, lambda: setattr(session, "is_playing", True)), (8.5, lambda: setattr(session, "is_playing", False))],
    )
    assert times(found, START) == pytest.approx([4.0]) and times(found, STOP) == pytest.approx([8.5], abs=0.005)
    assert not times(messages_of(FakeSession(), "transport", 6.0), START)


def test_a_phase_that_moves_places_the_song_at_the_next_bar_line():
    session = FakeSession(120.0, beat=0.0)
    found = messages_of(session, "tempo", 12.0, [(5.0, lambda: session.change(by_beats=-1.5))])
    (place,) = [(message, when) for _, message, when in found if message[0] == SONG_POSITION]
    assert len(times(found, START)) == 1 and session.beat_at(place[1]) % BAR == pytest.approx(0)
    assert (place[0][1] + 128 * place[0][2]) % 16 == 0  # the song goes on with a whole bar


def test_drums_are_on_the_beats_of_the_session_also_when_its_tempo_changes():
    """Looks are up to 15 ms late, and drums are not."""
    session, clock, sink = FakeSession(120.0, beat=0.3), SimulatedClock(0.0), Memory()
    found = messages_of(session, "tempo", 16.0, [(7.0, lambda: session.change(90.0))], every_s=0.015)
    engine = engine_of(clock, sink, tempo=FollowedTempo(120.0, GRID.steps_per_quarter), num_bars=6)
    for looked, message, when in found:
        clock.at(looked, lambda message=message, when=when: engine.receive(message, when))
    clock.at(16.0, engine.end)
    engine.run()
    kicks = sink.times(36)
    beats = [session.beat_at(when) for when in kicks]
    assert len(kicks) == 24 and 4 <= beats[0] < 4.03  # where the start was seen
    settled = [beat for when, beat in zip(kicks[1:], beats[1:], strict=True) if not 7 < when < 8.5]
    assert max(abs(beat - round(beat)) for beat in settled) < 0.005
    assert max(abs(beat - round(beat)) for beat in beats) < 0.06


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--link", "tempo", "--follow", "keys"], "--link beside --follow"),
        (["--link", "tempo", "--send-clock"], "--send-clock beside --link"),
        (["--link", "tempo", "--simulate", "--bars", "2"], "--simulate needs --bars, and nothing to follow"),
    ],
)
def test_what_excludes_link_is_refused_in_one_line(tmp_path, capsys, arguments, words):
    assert main(["play", str(tmp_path / "out.mid"), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_without_the_library_one_line_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "link", None)
    with pytest.raises(ModuleNotFoundError, match=r"--link needs link; pip install .hypermeter\[link\]"):
        LinkSession(120.0, BAR)


LEADER = """
import sys, time, link
session = link.Link(97)
session.enabled = session.startStopSyncEnabled = True
end = time.perf_counter() + 60
while session.numPeers() == 0 and time.perf_counter() < end:
    time.sleep(.05)
state = session.captureSessionState()
state.setTempo(97, session.clock().micros())
state.setIsPlaying(True, session.clock().micros())
session.commitSessionState(state)
while time.perf_counter() < end:
    state, now = session.captureSessionState(), session.clock().micros()
    bar = 4 * (int(state.beatAtTime(now, 4) / 4) + 1)
    print(state.timeAtBeat(bar, 4) / 1e6 + time.perf_counter() - session.clock().micros() / 1e6, flush=True)
    time.sleep(.25)
"""


@pytest.mark.slow
def test_two_processes_are_in_one_session():
    """The other one leads: its tempo, its bar lines and its start are those that are followed."""
    pytest.importorskip("link", reason="needs LinkPython-extern, the extra link")
    with subprocess.Popen([sys.executable, "-c", LEADER], stdout=subprocess.PIPE, text=True) as leader:
        session, messages = LinkSession(120.0, BAR), []
        follower = LinkInput(
            session, LinkTicks(session, BAR, "transport"), lambda *message: messages.append(message), time.perf_counter
        )
        try:
            end = time.monotonic() + 15
            while session.peers == 0 and time.monotonic() < end:
                time.sleep(0.1)
            if session.peers == 0:
                pytest.skip("no multicast between processes of this machine: Link finds no peer")
            end = time.monotonic() + 30
            while time.monotonic() < end and not any(message[0] == START for message, _ in messages):
                time.sleep(0.1)
            time.sleep(3)
        finally:
            follower.close()
            leader.terminate()
        lines = [float(line) for line in leader.stdout.read().split()]
    starts = [when for message, when in messages if message[0] == START]
    assert len(starts) == 1
    tempo, bar_s = FollowedTempo(120.0, 4), 4 * 60 / 97
    for message, when in messages:
        if message[0] == CLOCK:
            tempo.tick(when)
    assert tempo.tempo_bpm == pytest.approx(97, abs=0.05)
    apart = (starts[0] - lines[-1]) / bar_s
    assert abs(apart - round(apart)) * bar_s < 0.005
