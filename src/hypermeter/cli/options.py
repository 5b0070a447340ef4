"""Options of the command line as text and files, and what they ask of the playing engine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove
    from hypermeter.play.player import Player


@dataclass(frozen=True)
class WishOptions:
    """What is asked of the new bars, of a model that was trained with labels.

    Args:
        sections: labels with numbers of bars, "intro:4 verse:8 fill:1 chorus:8"; several at once joined by +, as in
            rock+verse:8. They give the number of bars.
        style: one of the model's styles, for all bars that name none.
        density: share of cells with a hit: a number, numbers joined by commas (a curve over the bars), or a MIDI file
            to be as dense as, bar by bar, again and again; it gives the number of bars where nothing else does.
        offbeat: share of hits off the beat, likewise.
        guidance: how much further all this is followed than the model does by itself: 0 is as learnt, 2 is strict. Left
            out, 1 where any of it is asked; the tempo, which is told in any case, is not followed further by itself.
    """

    sections: str | None = None
    style: str | None = None
    density: str | None = None
    offbeat: str | None = None
    guidance: float | None = None

    @property
    def names(self) -> list[str]:
        """The options given, but guidance."""
        return [name for name in ("sections", "style", "density", "offbeat") if getattr(self, name) is not None]

    @property
    def strength(self) -> float:
        """The guidance; where nothing is said about it, the default of `SamplingOptions`."""
        return SamplingOptions.guidance if self.guidance is None else self.guidance

    def of_bars(self, bars: int | None, player: "Player", read: "Callable[[Path], Groove]") -> tuple[PlanOptions, int]:
        """Return the wishes, and the number of new bars: `bars`, else what sections or a file tell, else BARS.

        Args:
            bars: new bars; `None` where nothing tells.
            player: that is asked.
            read: a MIDI file to a groove on the player's grid and kit.

        Raises:
            HypermeterError: a model without labels, a text that is no wish, a file that cannot be read.
        """
        from hypermeter.play.compose import BARS
        from hypermeter.play.plan import bars_of, no_labels

        if self.names and player.labels is None:
            raise no_labels(f"--{self.names[0]}", player.name)
        typed = {name: _numbers(text) for name in ("density", "offbeat") if (text := getattr(self, name)) is not None}
        files = {name: self._measure(name, player, read) for name, curve in typed.items() if curve is None}
        told = [len(bars_of(self.sections))] if self.sections else [len(curve) for curve in files.values()]
        bars = bars or [*told, BARS][0]
        repeated = {name: [curve[bar % len(curve)] for bar in range(bars)] for name, curve in files.items()}
        curves: dict[str, Any] = typed | repeated
        return PlanOptions(self.sections, self.style, **curves), bars

    def _measure(self, name: str, player: "Player", read: "Callable[[Path], Groove]") -> list[float]:
        """Return what the MIDI file of an option has in each bar."""
        import numpy as np

        from hypermeter.io.midi import MIDI_SUFFIXES
        from hypermeter.play.plan import NUMBERS, plan_of

        text = getattr(self, name)
        path = Path(text)
        if path.suffix.lower() not in MIDI_SUFFIXES:
            raise HypermeterError(f"{name}: {text!r}, expected a number, numbers as .1,.2,.3, or a MIDI file")
        curve = plan_of(read(path).hits, player.grid).numbers[0, :, NUMBERS.index(name)]
        told = np.flatnonzero(~np.isnan(curve))  # there is no share of hits where there are none
        if not len(told):
            raise HypermeterError(f"{name}: no hits in {path}, expected some to measure; choose another file")
        return np.interp(np.arange(len(curve)), told, curve[told]).tolist()


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of a text as .2 or .1,.2,.3; `None` of another text."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return None


@dataclass(frozen=True)
class LockOptions:
    """What is fixed, and what is filled in around it.

    Args:
        lock: MIDI file whose voices are played as they stand from the first new bar on; the model writes the others. It
            gives the number of bars where nothing else does. Bars after its end are free.
        keep: the voices that stay, of --lock, of --replace or of --vary: --keep kick snare. Left out with --lock, all
            that have a hit in it.
        replace: bars of the primer, from 1, that are written anew in their place: --replace 7 9-10.
        ending: MIDI file that the new bars lead to and that ends the piece.
        vary: from 0 to 1, the share of the primer (one beat of one voice at a time) that is written anew in its place.
        particles: played side by side where something later is fixed. More come closer to the model's own choice and
            take longer; the effective sample size that is printed tells whether they are enough.
        horizon_bars: bars after the last free one that have a say in it; left out, all.
    """

    lock: Path | None = None
    keep: tuple[str, ...] | None = None
    replace: tuple[str, ...] | None = None
    ending: Path | None = None
    vary: float | None = None
    particles: int = InfillOptions.particles
    horizon_bars: int | None = InfillOptions.horizon_bars

    @property
    def infilling(self) -> InfillOptions:
        """How much work is spent on what is fixed."""
        return InfillOptions(self.particles, self.horizon_bars)

    def bars_to_replace(self, num_bars: int) -> list[int]:
        """Return the bars, from 0, that `replace` names as 7 and 9-10, from 1, of a primer of so many.

        Raises:
            HypermeterError: a text that names no bars, or bars that the primer does not have.
        """
        bars = set()
        for text in self.replace or ():
            first, dash, last = text.partition("-")
            last = last if dash else first
            if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
                raise HypermeterError(f"replace: {text!r}, expected a bar as 7 or bars as 9-10")
            if not 1 <= int(first) <= int(last) <= num_bars:
                raise HypermeterError(f"replace: {text}, expected bars from 1 to {num_bars}, those of the primer")
            bars |= set(range(int(first) - 1, int(last)))
        return sorted(bars)


NO_WISHES = WishOptions()
NO_LOCKS = LockOptions()


def refuse_contradictions(
    wishes: WishOptions, locks: LockOptions, primer: Path | None, bars: int | None, include_primer: bool
) -> None:
    """Raise `HypermeterError` at options that cannot both be meant; the line names them."""
    for name, expected in (("replace", "bars, as 7 9-10"), ("keep", "voices, as kick snare")):
        if getattr(locks, name) == ():
            raise HypermeterError(f"--{name} with nothing after it, expected {expected}")
    in_place = [f"--{name}" for name in ("replace", "vary") if getattr(locks, name) is not None]
    if len(in_place) == 2:
        raise HypermeterError("--replace beside --vary, expected one of them: run the command twice for both")
    if in_place:
        (option,) = in_place
        if primer is None:
            raise HypermeterError(f"{option} without a primer, expected --primer with the MIDI file to change")
        others = {"--bars": bars, "--lock": locks.lock, "--ending": locks.ending}
        others["--no-include-primer"] = None if include_primer else True
        for other, value in others.items():
            if value is not None:
                raise HypermeterError(f"{other} beside {option}, which changes the primer in its place; leave one out")
        if locks.vary is not None and (wishes.names or wishes.guidance):
            other = [*wishes.names, "guidance"][0]
            raise HypermeterError(f"--{other} beside --vary, which asks for what the primer has; leave one out")
    if locks.keep and not (locks.lock or in_place):
        raise HypermeterError("--keep without music to keep voices of, expected --lock, --replace or --vary beside it")
    if wishes.guidance and not wishes.names:
        raise HypermeterError("--guidance without anything asked; pass --sections, --style, --density or --offbeat")
    if not (locks.lock or locks.ending or in_place):
        for name in ("particles", "horizon_bars"):
            if getattr(locks, name) != getattr(NO_LOCKS, name):
                option = name.replace("_", "-")
                raise HypermeterError(f"--{option} with nothing fixed, expected --lock, --ending, --replace or --vary")
