"""The ``play`` command: a model at a MIDI port, led while it plays."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hypermeter.cli.options import NO_WISHES, WishOptions
from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import SamplingOptions, check

if TYPE_CHECKING:
    from hypermeter.share.live import Engine

SWITCH_S = 0.0005
"""How soon the thread that sends gets the interpreter from the one that draws; 10 times as soon as by default."""


def play_command(
    port: str | None = None,
    model: str = "groove",
    primer: Path | None = None,
    bars: int | None = None,
    seed: int = 0,
    tempo_bpm: float | None = None,
    temperature: float = SamplingOptions.temperature,
    top_p: float = SamplingOptions.top_p,
    bias: dict[str, float] | None = None,
    swing: float = 0.5,
    swing_of: Literal["step", "two-steps"] = "step",
    ahead: Literal["bar", "step"] = "bar",
    follow: str | None = None,
    send_clock: bool = False,
    osc: int | None = None,
    osc_host: str = "127.0.0.1",
    channel: int = 10,
    simulate: bool = False,
    wishes: WishOptions = NO_WISHES,
) -> None:
    """Play to a MIDI port without end, in time, led by OSC and MIDI clock while it plays.

    Args:
        port: a MIDI output, by its name or a part of it; "virtual" makes one; a path that ends in .mid writes a file.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        primer: MIDI file, or text, that is heard first, in the model's metre. It gives the tempo, where it has one.
        bars: after which to end; left out, plays until Ctrl-C.
        seed: the same seed gives the same music as long as nothing is changed while it plays.
        tempo_bpm: from 20 to 400; with --follow, until the clock tells; left out, that of the primer, or else 120.
        temperature: 1 plays as learnt, less is safer, more is wilder, 0 is always the likeliest.
        top_p: keep only the likeliest combinations of voices that hold this probability together.
        bias: per voice, added to its log odds: --bias closed_hat 1 ride -2.
        swing: where the second of a pair begins, from .5 (straight) over .67 (triplets) to .8.
        swing_of: pairs of steps (sixteenths in 4/4), or of two steps (eighths).
        ahead: a bar is surer and keeps to the bar what is changed; a step answers at once and needs a quicker machine.
        follow: a MIDI input, whose clock, start, stop, continue and song position are followed; "virtual" makes one.
        send_clock: whether to send MIDI clock, start and stop.
        osc: UDP port that listens to OSC: /density .2, /temperature .8, /section verse, /style funk, /fill 1, and more.
        osc_host: address that it listens on; 0.0.0.0 lets other machines in.
        channel: MIDI channel of the drums.
        simulate: play in simulated time, which takes no longer than drawing does, to see whether this machine keeps up.
            Needs bars.
        wishes: what is asked of the bars, until OSC asks for something else; the last bar's stays.

    Raises:
        HypermeterError: no such port, or a file or number that does not fit.
    """
    from rich.console import Console

    from hypermeter.cli.material import in_tempo, read_groove, tempo_of
    from hypermeter.core.files import check_out
    from hypermeter.io.midi import MIDI_SUFFIXES
    from hypermeter.play.loading import kit_of, load_player
    from hypermeter.share.live import Asking, Drawer, Engine, RealClock, Settings, SimulatedClock
    from hypermeter.share.live.ports import FileSink, listen_to_osc, open_input, open_output
    from hypermeter.share.live.position import FollowedTempo, OwnTempo
    from hypermeter.share.live.process import ProcessDrawer

    _refuse(port, bars, tempo_bpm, channel, follow, send_clock, simulate)
    assert port is not None
    settings = Settings(temperature, top_p, bias or {}, wishes.strength, seed, swing=swing)
    is_file = port.lower().endswith(MIDI_SUFFIXES)
    if is_file:
        check_out(port, MIDI_SUFFIXES, [primer, wishes.density, wishes.offbeat])
    player = replace(load_player(model), name=model)
    kit, grid = kit_of(player), player.grid
    settings.check_voices(kit)
    read = partial(read_groove, player=player, kit=kit)
    heard = None if primer is None else read(primer)
    tempo_bpm = tempo_of([heard], tempo_bpm)
    heard = None if heard is None else in_tempo(heard, tempo_bpm)
    asked, told = wishes.of_bars(None if wishes.sections else bars, player, read)
    asking = Asking.of(player, asked, told, tempo_bpm, 0 if heard is None else heard.num_bars)
    console = Console(stderr=True)
    with ExitStack() as opened:
        if simulate:
            drawer = Drawer(player)
            first: Any = drawer.begin(heard, tempo_bpm)
        else:
            drawer = ProcessDrawer(model, heard, tempo_bpm)
            opened.callback(drawer.close)
            first = drawer.first()
        sink = FileSink(Path(port), grid, tempo_bpm) if is_file else open_output(port)
        opened.callback(sink.close)
        engine = Engine(
            drawer,
            first,
            asking,
            kit,
            grid,
            sink,
            SimulatedClock() if simulate else RealClock(),
            (FollowedTempo if follow else OwnTempo)(tempo_bpm, grid.steps_per_quarter),
            settings,
            ahead_steps=grid.steps_per_bar if ahead == "bar" else 1,
            swing_pair=2 if swing_of == "step" else 4,
            num_bars=bars,
            channel=channel,
            sends_clock=send_clock,
            tell=lambda line: console.print(line, style="yellow", soft_wrap=True, highlight=False, markup=False),
        )
        if follow:
            opened.callback(open_input(follow, engine.receive).close)
        if osc is not None:
            server = listen_to_osc(osc_host, osc, engine.control)
            opened.callback(server.server_close)
            opened.callback(server.shutdown)
            console.print(f"OSC on {osc_host}:{server.server_address[1]}", highlight=False)
        is_shown = console.is_terminal and not simulate
        try:
            with _shown(engine, console, is_shown), _undisturbed(), suppress(KeyboardInterrupt):  # how one ends it
                engine.run()
        finally:
            if isinstance(sink, FileSink):
                sink.begins_s = engine.begun_s
    out = Console()
    for line in engine.timing.lines():
        out.print(line, soft_wrap=True, highlight=False)
    if engine.timing.costs:
        out.print(engine.timing.table())
    if is_file:
        print(port)


def _refuse(
    port: str | None,
    bars: int | None,
    tempo_bpm: float | None,
    channel: int,
    follow: str | None,
    send_clock: bool,
    simulate: bool,
) -> None:
    """Raise at what cannot be played, before the model is loaded."""
    from hypermeter.share.live.ports import listing, output_names

    if port is None:
        raise HypermeterError(f"play: no --port given; {listing('output', output_names())}")
    for name, value in (("bars", bars), ("tempo_bpm", tempo_bpm)):
        if value is not None:
            check(name, value)
    if not 1 <= channel <= 16:
        raise HypermeterError(f"channel is {channel}, expected 1 to 16")
    if follow and send_clock:
        raise HypermeterError("--send-clock beside --follow, expected one: the clock that is followed is the master")
    if simulate and (bars is None or follow):
        raise HypermeterError("--simulate needs --bars, and nothing to follow")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """While playing: no long collection of garbage, threads that change quickly, SIGTERM as Ctrl-C."""
    before = sys.getswitchinterval()
    is_main = threading.current_thread() is threading.main_thread()
    old = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is loaded is looked at no more
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
        if is_main:
            signal.signal(signal.SIGTERM, old)


@contextmanager
def _shown(engine: "Engine", console: Any, is_shown: bool) -> Iterator[None]:
    """Show twice a second where one is and how well time is kept."""
    from rich.live import Live
    from rich.text import Text

    if not is_shown:
        yield
        return
    shown = Live(get_renderable=lambda: Text(engine.status()), console=console, refresh_per_second=2, transient=True)
    with shown:
        yield
