"""The ``play`` command: a model at a MIDI port, led while it plays."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.live import Live
from rich.text import Text

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import check_out
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.io.midi import MIDI_SUFFIXES, read_midi_report
from hypermeter.model.hierarchical import HierarchicalDrumModel, kit_of, load
from hypermeter.model.plan import Plan
from hypermeter.play.asked import NOTHING_ASKED, Asked, Planner
from hypermeter.share.live.asking import Asking, Settings, check_tempo
from hypermeter.share.live.clock import RealClock, SimulatedClock
from hypermeter.share.live.drawing import Drawer
from hypermeter.share.live.engine import Engine
from hypermeter.share.live.measure import Timing
from hypermeter.share.live.ports import FileSink, listen_to_osc, listing, open_input, open_output, output_names
from hypermeter.share.live.position import FollowedTempo, OwnTempo
from hypermeter.share.live.process import ProcessDrawer

SWITCH_S = 0.0005
"""How soon the thread that sends gets the interpreter from the one that draws; 10 times as soon as by default."""


def play_command(
    port: str | None = None,
    model: str = "groove",
    primer: Path | None = None,
    bars: int | None = None,
    seed: int = 0,
    tempo_bpm: float = 120.0,
    temperature: float = 1.0,
    top_p: float = 1.0,
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
    asked: Asked = NOTHING_ASKED,
) -> None:
    """Play to a MIDI port without end, in time, led by OSC and MIDI clock while it plays.

    Args:
        port: a MIDI output, by its name or a part of it; "virtual" makes one; a path that ends in .mid writes a file.
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        primer: MIDI file that is heard first, in the model's metre. It gives the tempo.
        bars: after which to end; left out, plays until Ctrl-C.
        seed: the same seed gives the same music as long as nothing is changed while it plays.
        tempo_bpm: from 20 to 400; with --follow, until the clock tells.
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
        asked: what is asked of the bars, until OSC asks for something else; the last bar's stays.

    Raises:
        HypermeterError: no such port, or a file or number that does not fit.
    """
    _refuse(port, bars, tempo_bpm, channel, follow, send_clock, simulate)
    assert port is not None
    if _is_file(port):
        check_out(port, MIDI_SUFFIXES, [primer, asked.density, asked.offbeat])
    drummer = load(model)
    kit = kit_of(drummer, model)
    grid = drummer.grid
    read = partial(_read, model=drummer, kit=kit)
    heard = None if primer is None else read(primer)
    tempo_bpm = tempo_bpm if heard is None else heard.tempo_bpm
    plan, told = Planner(drummer, model, asked, tempo_bpm, read).after([heard], None if asked.sections else bars)
    script = Plan.free(1, 0) if plan is None else plan.bars(plan.num_bars - told, told)
    asking = Asking(drummer.labels, script, asked.sections or "")
    settings = Settings(temperature, top_p, asked.strength, bias or {}, swing=swing)
    settings.check_voices(kit)
    tempo = (FollowedTempo if follow else OwnTempo)(tempo_bpm, grid.steps_per_quarter)
    console = Console(stderr=True)
    with ExitStack() as opened:
        if simulate:
            drawer = Drawer(drummer, seed)
            first = drawer.begin(heard, tempo_bpm)
        else:
            drawer = ProcessDrawer(model, seed, heard, tempo_bpm)
            opened.callback(drawer.close)
            first = drawer.first()
        sink = FileSink(Path(port), grid, tempo_bpm) if _is_file(port) else open_output(port)
        opened.callback(sink.close)
        engine = Engine(
            drawer,
            first,
            asking,
            kit,
            grid,
            sink,
            SimulatedClock() if simulate else RealClock(),
            tempo,
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
    _report(engine.timing)
    if _is_file(port):
        print(port)


def _refuse(
    port: str | None,
    bars: int | None,
    tempo_bpm: float,
    channel: int,
    follow: str | None,
    send_clock: bool,
    simulate: bool,
) -> None:
    """What cannot be played, before the model is loaded."""
    if port is None:
        raise HypermeterError(f"play: no --port given; {listing('output', output_names())}")
    if bars is not None and bars < 1:
        raise HypermeterError(f"bars is {bars}, expected at least 1")
    check_tempo(tempo_bpm)
    if not 1 <= channel <= 16:
        raise HypermeterError(f"channel is {channel}, expected 1 to 16")
    if follow and send_clock:
        raise HypermeterError("--send-clock beside --follow, expected one: the clock that is followed is the master")
    if simulate and (bars is None or follow):
        raise HypermeterError("--simulate needs --bars, and nothing to follow")


def _is_file(port: str) -> bool:
    return port.lower().endswith(MIDI_SUFFIXES)


def _read(path: Path, model: HierarchicalDrumModel, kit: Kit) -> Groove:
    (piece,), losses = read_midi_report(path, kit, model.grid, changes="refuse", to_end=True)
    for loss in losses:
        print(f"{path}: {loss}", file=sys.stderr)
    return piece.groove


@contextmanager
def _undisturbed() -> Iterator[None]:
    """While playing: no long collection of garbage, threads that change quickly, one core, SIGTERM as Ctrl-C."""
    before, threads = sys.getswitchinterval(), torch.get_num_threads()
    is_main = threading.current_thread() is threading.main_thread()
    old = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    sys.setswitchinterval(SWITCH_S)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # what is loaded is looked at no more
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
        sys.setswitchinterval(before)
        if is_main:
            signal.signal(signal.SIGTERM, old)


@contextmanager
def _shown(engine: Engine, console: Console, is_shown: bool) -> Iterator[None]:
    """Twice a second, where one is and how well time is kept."""
    if not is_shown:
        yield
        return
    shown = Live(get_renderable=lambda: Text(engine.status()), console=console, refresh_per_second=2, transient=True)
    with shown:
        yield


def _report(timing: Timing) -> None:
    console = Console()
    for line in timing.lines():
        console.print(line, soft_wrap=True, highlight=False)
    if timing.costs:
        console.print(timing.table())
