"""Pieces of a MIDI file: each is a span of whole bars in one metre and tempo, as a groove."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.strokes import Chokes
from hypermeter.core.tracks import Track
from hypermeter.io.midi.bars import Span
from hypermeter.io.midi.cells import cells_of, steps_of
from hypermeter.io.midi.content import MidiFile
from hypermeter.io.midi.melody import codes_of, notes_of, sections_of
from hypermeter.io.midi.own_grid import OwnGrid, find_own_grid

MAX_STEPS = 1_000_000
"""Steps of the longest file that is read: the times in a damaged file could demand all memory."""


@dataclass
class Piece:
    """A span of a MIDI file in one metre and tempo.

    Args:
        groove: whole bars, from the start of the span.
        start_tick: tick of the file at which the span starts; below 0 where a pickup became a whole bar.
        unmapped: MIDI pitch -> number of hits that no voice of the kit reads.
        notes_dropped: track -> number of notes dropped because the track has a lower or equal one on the same step.
        own_grid: the grid on which the drums of the file are played, the same for all its pieces.
        ticks_per_step: length of a step in the file.
    """

    groove: Groove
    start_tick: int
    unmapped: dict[int, int]
    notes_dropped: dict[str, int] = field(default_factory=dict)
    own_grid: OwnGrid = field(default_factory=OwnGrid)
    ticks_per_step: float = 0.0


@dataclass(frozen=True)
class SpanReader:
    """Reads the spans of a MIDI file as pieces.

    Args:
        midi: the file, read in full if there are `tracks` or `with_sections`.
        kit: the voices.
        grid: the metre and its steps.
        tracks, with_sections: as in `read_midi`.
        may_rest, to_end: as in `parse_midi`.
    """

    midi: MidiFile
    kit: Kit
    grid: Grid
    tracks: Sequence[Track]
    with_sections: bool
    may_rest: bool
    to_end: bool

    @cached_property
    def ticks_per_step(self) -> float:
        """The length of a step."""
        return self.midi.ticks_per_quarter / self.grid.steps_per_quarter

    @cached_property
    def notes(self) -> dict[Track, np.ndarray]:
        """Track -> its notes, see `notes_of`."""
        return {track: notes_of(self.midi, track) for track in self.tracks}

    @cached_property
    def onsets(self) -> np.ndarray:
        """(N,) ticks at which hits begin, and, with `may_rest`, notes."""
        return np.concatenate([self.midi.drums[0], *(notes[0] for notes in self.notes.values() if self.may_rest)])

    @property
    def last_tick(self) -> float:
        """The tick at which the last hit begins or, with `may_rest`, the last note ends."""
        return max([self.onsets.max(), *(notes[1].max(initial=0) for notes in self.notes.values() if self.may_rest)])

    @cached_property
    def columns(self) -> np.ndarray:
        """(N,) columns of the hits' voices, below 0 for a hit that no voice reads."""
        return self.kit.columns[self.midi.drums[1]]

    @cached_property
    def openness(self) -> np.ndarray:
        """(N,) how open the hi-hat is at each of its hits; NaN of other hits, and before the first controller 4."""
        (ticks, values), openness = self.midi.pedal, np.full(len(self.columns), np.nan)
        if len(ticks):
            last = np.searchsorted(ticks, self.midi.drums[0], "right") - 1
            is_known = (last >= 0) & np.isin(self.columns, self.kit.hats)
            openness[is_known] = 1 - values[last[is_known]] / 127
        return openness

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """The hits' ticks in order, and their indices."""
        return _in_order(self.midi.drums[0])

    @cached_property
    def _order_of_chokes(self) -> tuple[np.ndarray, np.ndarray]:
        return _in_order(self.midi.chokes[0])

    def _near(self, order: tuple[np.ndarray, np.ndarray], start: float, length: float) -> np.ndarray:
        """Return the sorted indices of what is in so many steps from a tick, or at most a step beside them.

        A span looks at what is near it alone, so that a file of many spans takes no longer than one of few.
        """
        ticks, indices = order
        ends = start - self.ticks_per_step, start + (length + 1) * self.ticks_per_step
        first, last = np.searchsorted(ticks, ends)
        return np.sort(indices[first:last])

    def _chokes(self, start: float, shift: float, length: int, is_last: bool) -> Chokes:
        """Return the chokes in so many steps from a tick; one after the last step of the file is at the end of that.

        A voice whose pads are choked together is choked once, and one that the kit lacks is no matter.
        """
        near = self._near(self._order_of_chokes, start + shift * self.ticks_per_step, math.inf if is_last else length)
        ticks, pitches = self.midi.chokes[:, near]
        moments = np.stack([(ticks - start) / self.ticks_per_step - shift, self.kit.columns[pitches]])
        positions, columns = np.unique(moments[:, moments[1] >= 0], axis=1)
        steps, offsets = steps_of(np.minimum(positions, length - 0.5 - 1e-6) if is_last else positions)
        inside = (steps >= 0) & (steps < length)
        return Chokes(steps[inside], columns[inside], offsets[inside])

    def find_own_grid(self, spans: Sequence[Span]) -> OwnGrid:
        """Return the grid on which the hits of all spans are played: one, so that no hit is between spans."""
        span = next((span for span in spans if span.tempo_bpm is not None), spans[0])
        onsets = (self.midi.drums[0][self.columns >= 0] - span.start) / self.ticks_per_step
        step_duration_s = 60 / (span.tempo_bpm or 120) / self.grid.steps_per_quarter
        return find_own_grid(onsets, self.grid.steps_per_beat, step_duration_s)

    def read(self, span: Span, is_last: bool, own_grid: OwnGrid) -> Piece | str:
        """Return the piece of a span, or why there is none; "" if nothing plays in it.

        Args:
            span: the span.
            is_last: whether the piece ends with its last hit or note, not with the span.
            own_grid: the grid on which steps are counted; its bar lines are those of the file, moved by its shift.
        """
        shift = own_grid.shift
        start = span.start + shift * self.ticks_per_step
        end = math.inf if is_last else (span.end - span.start) / self.ticks_per_step
        near = self._near(self._order, start, end)
        ticks, pitches, velocities = self.midi.drums[:, near]
        columns, openness = self.columns[near], self.openness[near]
        # A note belongs to the nearest step, so the span starts and ends half a step before its bar lines.
        positions = (ticks - span.start) / self.ticks_per_step - shift
        inside = np.flatnonzero((positions >= -0.5) & (positions < end - 0.5))
        hits = inside[columns[inside] >= 0]
        has_notes = self.may_rest and self._has_note(start, span.end - span.start)
        at = f"at bar {span.bar} ({len(inside)} hits)"
        if reason := self._reason(span, at, is_silent=not len(hits) and not has_notes):
            return reason if len(inside) or has_notes else ""
        length = round(end) if end < math.inf else self._length(span, start, positions[hits])
        melodies = {
            track.name: codes_of(notes, start, self.ticks_per_step, length, track)
            for track, notes in self.notes.items()
        }
        silent = [name for name, (codes, _) in melodies.items() if not codes.any()]
        if silent and not self.may_rest:
            return f"no notes of {silent[0]} {at}; leave it out of --tracks to keep the drums"
        cells = cells_of(
            positions[hits], columns[hits], velocities[hits] / 127, openness[hits], (length, self.kit.num_voices)
        )
        sections = None
        if self.with_sections:
            bar_ticks = self.ticks_per_step * self.grid.steps_per_bar
            sections = sections_of(self.midi, span.start, bar_ticks, -(-length // self.grid.steps_per_bar))
        codes_by_track = {track: codes for track, (codes, _) in melodies.items()}
        name = self.kit.name if isinstance(self.kit.record, str) else self.kit
        assert span.tempo_bpm is not None
        values = {"sections": sections, "tracks": codes_by_track, "shift": shift}
        chokes = self._chokes(span.start, shift, length, is_last)
        groove = Groove(**cells, tempo_bpm=span.tempo_bpm, kit=name, grid=self.grid, **values, chokes=chokes)
        unmapped = Counter(pitches[inside[columns[inside] < 0]].tolist())
        dropped = {track: count for track, (_, count) in melodies.items()}
        return Piece(groove, round(span.start), dict(sorted(unmapped.items())), dropped, own_grid, self.ticks_per_step)

    def _reason(self, span: Span, at: str, is_silent: bool) -> str:
        """Return why a span is left out, and the option that would keep it; "" if it is kept."""
        if span.metre != self.grid.metre:
            return f"metre {span.metre} {at}, expected {self.grid.metre}; pass --metre {span.metre}, or all"
        if span.tempo_bpm is None:
            return (
                f"tempo or metre changes within the bar {at}; pass --tempo-map flatten to follow the tempo, or move the"
                " change to a bar line"
            )
        return f"no drum notes that the kit {self.kit.name} reads {at}; choose another --kit" if is_silent else ""

    def _has_note(self, start: float, length: float) -> bool:
        """Return whether a note of a track starts in a span, in ticks; like a hit it belongs to the nearest step."""
        first, last = start - self.ticks_per_step / 2, start + length - self.ticks_per_step / 2
        return any(((notes[0] >= first) & (notes[0] < last)).any() for notes in self.notes.values())

    def _length(self, span: Span, start: float, positions: np.ndarray) -> int:
        """Return the steps of the last span: whole bars to the last hit or note, or to the end of the file."""
        size = self.grid.steps_per_bar
        last_step = math.floor(positions.max(initial=0) + 0.5)
        if self.may_rest and self.notes:  # A note ends on the step before the one nearest its end.
            last_tick = max(notes[1].max(initial=0) for notes in self.notes.values())
            last_step = max(last_step, math.floor((last_tick - start) / self.ticks_per_step - 0.5))
        length = (last_step // size + 1) * size
        to_end = (min(self.midi.end, span.end) - span.start) / self.ticks_per_step
        whole_bars = round(to_end / size) * size
        if self.to_end and abs(to_end - whole_bars) * self.ticks_per_step < 0.75 and whole_bars <= MAX_STEPS:
            return max(length, whole_bars)
        return length


def _in_order(ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(ticks, kind="stable")
    return ticks[order], order
