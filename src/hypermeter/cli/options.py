"""Groups of options that commands share, and what they mean to the player."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove
    from hypermeter.play.player import Player


@dataclass(frozen=True)
class SamplingArguments:
    """How steps are sampled.

    Args:
        temperature: 1 as learnt, less is safer, 0 the likeliest.
        top_p: keep the likeliest of this probability.
        bias: added to log odds: --bias closed_hat 1 ride -2.
        seed: the same seed gives the same music.
    """

    temperature: Annotated[float, tyro.conf.arg(metavar="T")] = SamplingOptions.temperature
    top_p: float = SamplingOptions.top_p
    bias: Annotated[dict[str, float] | None, tyro.conf.arg(metavar="V N ...")] = None
    seed: int = 0

    def options(self, guidance: float) -> SamplingOptions:
        """Return the sampling options; raise `HypermeterError` at a number out of its bounds, or an empty bias."""
        if self.bias == {}:
            raise HypermeterError("--bias with nothing after it, expected voices and numbers, as closed_hat 1 ride -2")
        return SamplingOptions(self.temperature, self.top_p, self.bias or {}, guidance, self.seed)


@dataclass(frozen=True)
class PlanArguments:
    """What the new bars are to be, for a model that was trained with labels.

    Args:
        sections: labels with bars: "intro:4 verse:8 fill:1", rock+verse:8.
        style: a style of the model, for bars whose sections name none.
        density: share of cells with a hit: a number, a curve .1,.2,.3, or a MIDI file to match bar by bar.
        offbeat: share of hits off the beat, likewise.
        guidance: how strictly they are followed: 0 as learnt.
    """

    sections: str | None = None
    style: str | None = None
    density: Annotated[str | None, tyro.conf.arg(metavar="X")] = None
    offbeat: Annotated[str | None, tyro.conf.arg(metavar="X")] = None
    guidance: Annotated[float, tyro.conf.arg(metavar="G")] = SamplingOptions.guidance

    @property
    def names(self) -> list[str]:
        """Names of the conditions that are given."""
        return [name for name in ("sections", "style", "density", "offbeat") if getattr(self, name) is not None]

    def of_bars(self, bars: int | None, player: "Player", read: "Callable[[Path], Groove]") -> tuple[PlanOptions, int]:
        """Return the plan options, and the number of new bars: `bars`, else that of the sections or a file, else BARS.

        Args:
            bars: new bars; `None` where nothing else gives their number.
            player: whose labels and grid count.
            read: reads a MIDI file on the player's grid and kit.

        Raises:
            HypermeterError: a model without labels, a text that is no condition, a file that cannot be read.
        """
        from hypermeter.play.compose import BARS
        from hypermeter.play.plan import labels_of_bars, no_labels

        if self.names and player.labels is None:
            raise no_labels(f"--{self.names[0]}", player.name)
        typed = {name: _numbers(text) for name in ("density", "offbeat") if (text := getattr(self, name)) is not None}
        files = {name: self._measure(name, player, read) for name, curve in typed.items() if curve is None}
        lengths = [len(labels_of_bars(self.sections))] if self.sections else [len(curve) for curve in files.values()]
        bars = bars or [*lengths, BARS][0]
        repeated = {name: [curve[bar % len(curve)] for bar in range(bars)] for name, curve in files.items()}
        curves: dict[str, Any] = typed | repeated
        return PlanOptions(self.sections, self.style, **curves), bars

    def _measure(self, name: str, player: "Player", read: "Callable[[Path], Groove]") -> list[float]:
        """Return a condition as measured in each bar of the MIDI file that its option names."""
        import numpy as np

        from hypermeter.io.midi import MIDI_SUFFIXES
        from hypermeter.play.plan import NUMBERS, plan_of

        text = getattr(self, name)
        path = Path(text)
        if path.suffix.lower() not in MIDI_SUFFIXES:
            raise HypermeterError(f"{name}: {text!r}, expected a number, numbers as .1,.2,.3, or a MIDI file")
        curve = plan_of(read(path).hits, player.grid).numbers[0, :, NUMBERS.index(name)]
        defined = np.flatnonzero(~np.isnan(curve))  # a bar without hits has no share of them
        if not len(defined):
            raise HypermeterError(f"{name}: no hits in {path}, expected some to measure; choose another file")
        return np.interp(np.arange(len(curve)), defined, curve[defined]).tolist()


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of a text as .2 or .1,.2,.3; `None` of another text."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return None


@dataclass(frozen=True)
class LockArguments:
    """What stays, and what is written around it.

    Args:
        lock: MIDI file whose voices stay, on the new bars.
        keep: voices that stay, of --lock (by default all in it), --replace or --vary: --keep kick snare.
        replace: bars of the primer to write anew: --replace 7 9-10.
        ending: MIDI file that follows the new bars.
        vary: share of the primer to write anew, from 0 to 1.
        particles: candidates where later cells are locked.
    """

    lock: Path | None = None
    keep: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="V ...")] = None
    replace: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="N ...")] = None
    ending: Path | None = None
    vary: float | None = None
    particles: int = InfillOptions.particles

    def bars_to_replace(self, num_bars: int) -> list[int]:
        """Return the bars, from 0, that `replace` names as 7 and 9-10, from 1, of a primer of `num_bars`.

        Raises:
            HypermeterError: a text that names no bars, or bars that the primer does not have.
        """
        bars = set()
        for text in self.replace or ():
            first, last = span_of_bars(text, f"replace: {text!r}, expected a bar as 7 or bars as 9-10")
            if first > last:
                raise HypermeterError(f"replace: {text} ends before it begins, expected {last}-{first}")
            if not 1 <= first <= last <= num_bars:
                raise HypermeterError(f"replace: {text}, expected bars from 1 to {num_bars}, those of the primer")
            bars |= set(range(first - 1, last))
        return sorted(bars)


def span_of_bars(text: str, refusal: str) -> tuple[int, int]:
    """Return the first and the last bar of a text as 7 or 9-10.

    Raises:
        HypermeterError: with the line ``refusal``, for another text.
    """
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise HypermeterError(refusal)
    return int(first), int(last)


DEFAULT_SAMPLING = SamplingArguments()
DEFAULT_PLAN = PlanArguments()
DEFAULT_LOCKS = LockArguments()


def refuse_contradictions(
    plan: PlanArguments, locks: LockArguments, primer: Path | None, length: str | None, include_primer: bool
) -> None:
    """Raise `HypermeterError` at options that exclude each other; the line names them.

    Args:
        length: the option that gives the number of bars, if one does.
    """
    for name, expected in (("replace", "bars, as 7 9-10"), ("keep", "voices, as kick snare")):
        if getattr(locks, name) == ():
            raise HypermeterError(f"--{name} with nothing after it, expected {expected}")
    in_place = [f"--{name}" for name in ("replace", "vary") if getattr(locks, name) is not None]
    if len(in_place) == 2:
        raise HypermeterError("--replace beside --vary, expected one of them: run the command twice for both")
    if in_place:
        (option,) = in_place
        if primer is None:
            raise HypermeterError(f"{option} without a primer, expected the MIDI file to change, as generate beat.mid")
        others = {"--lock": locks.lock, "--ending": locks.ending, "--no-include-primer": not include_primer or None}
        for other in [length, *(other for other, value in others.items() if value is not None)]:
            if other is not None:
                raise HypermeterError(f"{other} beside {option}, which changes the primer in its place; leave one out")
        if locks.vary is not None and plan.names:
            raise HypermeterError(f"--{plan.names[0]} beside --vary, which keeps to what the primer has; leave one out")
    if locks.keep and not (locks.lock or in_place):
        raise HypermeterError("--keep without music to keep voices of, expected --lock, --replace or --vary beside it")
    InfillOptions(locks.particles)  # checks it
    if locks.particles != DEFAULT_LOCKS.particles and not (locks.lock or locks.ending or in_place):
        raise HypermeterError("--particles with nothing locked, expected --lock, --ending, --replace or --vary")
