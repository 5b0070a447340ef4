"""Options of what `play` listens to, and how it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import Between, FollowOptions

if TYPE_CHECKING:
    from hypermeter.core.grid import Grid
    from hypermeter.core.kit import Kit
    from hypermeter.share.live import LiveConditions, LiveSettings
    from hypermeter.share.live.control_map import ControlMap
    from hypermeter.share.live.hearing import Ear


@dataclass(frozen=True)
class ListenArguments:
    """What is played on an input, which the drums answer.

    Args:
        listen: a MIDI input; or a .mid, heard by its beats.
        answer: follow the rhythm, or leave room for it; follow.
        answering: voices that answer: names, loud, all.
        between: where nothing is played they are silent, or free.
        controls: YAML file of what knobs, pads and pedals do.
        learn: ask for controls, and write them into --map.
        record: write what was heard into this .mid.
    """

    listen: Annotated[str | None, tyro.conf.arg(metavar="IN")] = None
    answer: Annotated[Literal["follow", "complement"] | None, tyro.conf.arg(metavar="HOW")] = None
    answering: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="V ..")] = None
    between: Annotated[Between | None, tyro.conf.arg(metavar="HOW")] = None
    controls: Annotated[Path | None, tyro.conf.arg(name="map", metavar="FILE")] = None
    learn: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="C ..")] = None
    record: Annotated[Path | None, tyro.conf.arg(metavar="OUT")] = None

    @property
    def is_file(self) -> bool:
        """Whether recorded input is listened to."""
        from hypermeter.io.midi import MIDI_SUFFIXES

        return self.listen is not None and self.listen.lower().endswith(tuple(MIDI_SUFFIXES))

    @property
    def following(self) -> FollowOptions:
        """How voices answer."""
        return FollowOptions(self.answering or FollowOptions.answer, self.between or "free")

    def check(self, out: str | None, follow: str | None, simulate: bool, read: list[Path | str | None]) -> None:
        """Raise `HypermeterError` if options exclude each other, before the model is loaded.

        Args:
            out: port or file that is played to.
            follow: port of the clock that is followed.
            simulate: whether time is simulated.
            read: other files that are read.
        """
        from hypermeter.core.files import check_out
        from hypermeter.io.midi import WRITTEN_SUFFIXES

        names = {"answer": self.answer, "answering": self.answering, "between": self.between, "map": self.controls}
        names |= {"learn": self.learn, "record": self.record}
        given = [name for name, value in names.items() if value is not None]
        if self.listen is None and given:
            raise HypermeterError(f"--{given[0]} without an input, expected --listen PORT beside it")
        if self.answering == ():
            raise HypermeterError("--answering with nothing after it, expected voices, as kick snare, loud or all")
        if self.learn is not None and (not self.learn or self.controls is None):
            raise HypermeterError("--learn without controls or a file, expected --map FILE.yaml --learn fill ...")
        if self.learn is not None and self.is_file:
            raise HypermeterError("--learn beside a file, expected --listen PORT: controls are learnt from a device")
        if simulate and self.listen is not None and not self.is_file:
            raise HypermeterError("--simulate beside --listen PORT, expected recorded input: --listen FILE.mid")
        if self.record is not None:
            if follow:
                raise HypermeterError("--record beside --follow, expected one: a clock that jumps has no one timeline")
            check_out(self.record, WRITTEN_SUFFIXES, [*read, self.listen if self.is_file else None])
            if out is not None and Path(out).resolve() == self.record.resolve():
                raise HypermeterError(f"--record {self.record}: the file of the drums, expected another one")

    def learn_controls(self) -> None:
        """Learn the controls, from the port."""
        import queue

        from hypermeter.share.live.learning import learn_controls, waiting
        from hypermeter.share.live.ports import open_input

        assert self.listen is not None and self.controls is not None and self.learn is not None
        messages: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        port = open_input(self.listen, messages.put, "--listen")
        try:
            learn_controls(self.learn, self.controls, lambda: waiting(messages))
        finally:
            port.close()

    def read_controls(self) -> "ControlMap | None":
        """Return the map of controls."""
        from hypermeter.share.live.control_map import read_map

        return None if self.controls is None else read_map(self.controls)

    def ear(self, grid: "Grid", ahead_steps: int, swing_pair: int, controls: "ControlMap | None") -> "Ear | None":
        """Return what listens; `None` if nothing is listened to."""
        from hypermeter.share.live.hearing import Ear
        from hypermeter.share.live.input_file import read_input

        if self.listen is None:
            return None
        source = read_input(Path(self.listen)) if self.is_file else ()
        return Ear(grid, ahead_steps, swing_pair, controls, source, self.record is not None)


DEFAULT_LISTENING = ListenArguments()


def check_controls(
    controls: "ControlMap | None", settings: "LiveSettings", conditions: "LiveConditions", kit: "Kit"
) -> None:
    """Raise `HypermeterError` if the map names what the model does not have."""
    if controls is None:
        return

    def check_one(address: str, values: tuple) -> None:
        from hypermeter.share.live.conditions import parse_control

        name, change = parse_control(address, values)
        if name != "tempo":
            changed = settings.change(**change)
            changed.check_voices(kit)
            conditions.check(changed, ())

    controls.check(check_one)
