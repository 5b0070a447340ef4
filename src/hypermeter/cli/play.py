"""The `play` command: a model at a MIDI port, with settings that change while it plays."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hypermeter.cli.listening import DEFAULT_LISTENING, ListenArguments, check_controls
from hypermeter.cli.options import DEFAULT_PLAN, DEFAULT_SAMPLING, PlanArguments, SamplingArguments
from hypermeter.core.arguments import Flag
from hypermeter.core.errors import HypermeterError
from hypermeter.play.request import check

if TYPE_CHECKING:
    from hypermeter.share.live import Engine

SWITCH_S = 0.0005
"""Time until the thread that sends gets the interpreter from another one: a tenth of the default."""


def play_command(
    port: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PORT]")] = None,
    list_ports: Annotated[Flag, tyro.conf.arg(name="list")] = False,
    model: str = "groove",
    primer: Annotated[Path | None, tyro.conf.arg(metavar="IN")] = None,
    bars: int | None = None,
    tempo_bpm: float | None = None,
    metre: str | None = None,
    grid: Annotated[Literal["straight", "triplets"] | None, tyro.conf.arg(metavar="KIND")] = None,
    swing: Annotated[float, tyro.conf.arg(metavar="X")] = 0.5,
    swing_of: Literal["step", "two-steps"] = "step",
    ahead: Literal["bar", "step"] = "bar",
    follow: str | None = None,
    link: Annotated[Literal["tempo", "transport"] | None, tyro.conf.arg(metavar="WHAT")] = None,
    send_clock: Flag = False,
    osc: str | None = None,
    osc_out: Annotated[str | None, tyro.conf.arg(metavar="PORT")] = None,
    channel: Annotated[int, tyro.conf.arg(metavar="N")] = 10,
    simulate: Flag = False,
    listening: ListenArguments = DEFAULT_LISTENING,
    sampling: SamplingArguments = DEFAULT_SAMPLING,
    plan: PlanArguments = DEFAULT_PLAN,
) -> None:
    """Play to a MIDI port without end, in time, led by what is played to it, by OSC and by MIDI clock.

    Args:
        port: a MIDI output, by its name or a part of it; "virtual" makes one; a path that ends in .mid is written.
        list_ports: print the MIDI ports and end.
        model: a shipped model, a checkpoint, or the folder of a training run.
        primer: MIDI or text file of the music before, which is not played.
        bars: number of bars to play; by default without end, until Ctrl-C.
        tempo_bpm: by default that of the primer, or 120; with --follow, until it ticks.
        metre: as 6/8; by default that of the primer, or of the model.
        grid: straight or triplets; else what fits the primer.
        swing: where the second of a pair begins: .5 straight, .67 triplets, to .8.
        swing_of: pairs of steps (4/4: 16ths) or of two steps.
        ahead: a bar is safer, a step answers at once.
        follow: a MIDI input whose clock, start, stop, continue and song position are followed; "virtual" makes one.
        link: join an Ableton Link session: tempo, or transport.
        send_clock: send MIDI clock, start and stop.
        osc: UDP port, or HOST:PORT, of OSC messages: /density .2, /section verse, /fill 1, /get tempo and more; from
            this machine alone, or 0.0.0.0:PORT.
        osc_out: send notes by OSC too, or alone, to PORT or HOST:PORT.
        channel: MIDI channel, 1 to 16, of all notes.
        simulate: play into a file faster than time.
        listening: what is played on an input, which the drums answer.
        sampling: how steps are sampled; the same seed gives the same music while no setting changes.
        plan: of the bars, until OSC changes it; that of the last bar stays.

    Raises:
        HypermeterError: no such port, or a file or number that does not fit.
    """
    from hypermeter.cli.material import in_one_tempo, on_grid_of, read_groove
    from hypermeter.core.files import check_out
    from hypermeter.io.midi import WRITTEN_SUFFIXES
    from hypermeter.play.follow import answering_voices
    from hypermeter.play.loading import kit_of, load_player
    from hypermeter.share.live import Engine, LiveConditions, LiveSettings, RealClock, Sampler, SimulatedClock
    from hypermeter.share.live.asking import answer
    from hypermeter.share.live.hearing import part_steps
    from hypermeter.share.live.input_file import write_input
    from hypermeter.share.live.kept_ports import KeptInput, KeptOutput
    from hypermeter.share.live.link import follow_link
    from hypermeter.share.live.osc import OscSink, open_osc_server, parse_address
    from hypermeter.share.live.output import Sinks
    from hypermeter.share.live.ports import listing
    from hypermeter.share.live.position import FollowedTempo, OwnTempo
    from hypermeter.share.live.process import SamplerProcess
    from hypermeter.share.live.recording import FileSink
    from hypermeter.share.live.reporting import Reporter

    if list_ports:
        print(listing("output"), listing("input"), sep="\n")
        return
    listening.check(port, follow, simulate, [primer, plan.density, plan.offbeat])
    if listening.learn is not None:
        listening.learn_controls()
        return
    if port is None and osc_out is None:
        raise HypermeterError(f"play: no port given; {listing('output')}")
    is_file = port is not None and port.lower().endswith(WRITTEN_SUFFIXES)
    _check(bars, channel, follow, link, send_clock, simulate, is_file)
    host, osc_port = ("", 0) if osc is None else parse_address(osc, "osc")
    answers = "off" if listening.listen is None else listening.answer or "follow"
    settings = LiveSettings(**vars(sampling.options(plan.guidance)), swing=swing, answer=answers)
    controls = listening.read_controls()
    if port is not None and is_file:
        check_out(port, WRITTEN_SUFFIXES, [primer, plan.density, plan.offbeat])
    if tempo_bpm is not None:
        check("tempo_bpm", tempo_bpm)
    player = replace(load_player(model), name=model)
    kit = kit_of(player)
    player, known = on_grid_of(player, [primer], metre, grid, kit)
    settings.check_voices(kit)
    read = partial(read_groove, player=player, kit=kit, known=known)
    (groove,), tempo_bpm = in_one_tempo([None if primer is None else read(primer)], tempo_bpm)
    planned, number = plan.of_bars(None if plan.sections else bars, player, read)
    conditions = LiveConditions.of(player, planned, number, tempo_bpm, 0 if groove is None else groove.num_bars)
    check_controls(controls, settings, conditions, kit)
    answering_voices(kit, listening.following.answer)
    ahead_steps = player.grid.steps_per_bar if ahead == "bar" else 1
    if listening.listen is not None:
        ahead_steps = part_steps(player.grid, ahead)
    swing_pair = 2 if swing_of == "step" else 4
    ear = listening.ear(player.grid, ahead_steps, swing_pair, controls)
    with ExitStack() as opened:
        report = Reporter()
        opened.callback(report.close)
        if simulate:
            sampler = Sampler(player, listening.following)
            first: Any = sampler.begin(groove, tempo_bpm)
        else:
            sampler = SamplerProcess(model, groove, tempo_bpm, player.grid, listening.following)
            opened.callback(sampler.close)
            first = sampler.first()
        tempo = (FollowedTempo if follow or link else OwnTempo)(tempo_bpm, player.grid.steps_per_quarter)
        sinks: list[Any] = []
        if port is not None:
            sinks.append(FileSink(Path(port), player.grid, tempo) if is_file else KeptOutput(port, report))
        if osc_out is not None:
            sinks.append(OscSink(osc_out, kit, report))
        for sink in sinks:
            opened.callback(sink.close)
        engine = Engine(
            sampler,
            first,
            conditions,
            kit,
            player.grid,
            Sinks(*sinks),
            SimulatedClock() if simulate else RealClock(),
            tempo,
            settings,
            ahead_steps=ahead_steps,
            swing_pair=swing_pair,
            num_bars=bars,
            channel=channel,
            sends_clock=send_clock,
            ear=ear,
            report=report,
        )

        def receive(message: tuple[int, ...]) -> None:
            engine.receive(message)
            if follow == listening.listen:  # some systems open a port but once
                engine.hear(message)

        if follow:
            opened.callback(KeptInput(follow, receive, report, option="--follow").close)
        if link:
            opened.callback(follow_link(engine, link, tempo_bpm).close)
        if listening.listen is not None and not listening.is_file and follow != listening.listen:
            opened.callback(KeptInput(listening.listen, engine.hear, report).close)
        if ear is not None and (record := listening.record) is not None:
            opened.callback(lambda: write_input(record, ear.recorded, player.grid, tempo_bpm))
        if osc is not None:
            server = open_osc_server(host, osc_port, engine.control, report, partial(answer, engine))
            opened.callback(server.server_close)
            opened.callback(server.shutdown)
            print(f"OSC on {host}:{server.server_address[1]}", file=sys.stderr)
        try:
            is_shown = sys.stderr.isatty() and not simulate
            with _status(engine, is_shown), _undisturbed(), suppress(KeyboardInterrupt):  # which ends it
                engine.run()
        finally:
            for sink in sinks:
                if isinstance(sink, FileSink):
                    sink.num_bars = engine.timing.bars
    print("\n".join([*engine.timing.lines(), *([] if ear is None else ear.lines())]))
    if is_file:
        print(port)


def _check(
    bars: int | None,
    channel: int,
    follow: str | None,
    link: str | None,
    send_clock: bool,
    simulate: bool,
    is_file: bool,
) -> None:
    """Raise `HypermeterError` if options exclude each other, before the model is loaded."""
    if bars is not None:
        check("bars", bars)
    if not 1 <= channel <= 16:
        raise HypermeterError(f"channel is {channel}, expected 1 to 16")
    if follow and link:
        raise HypermeterError("--link beside --follow, expected one: drums follow one clock")
    if (follow or link) and send_clock:
        option = "--follow" if follow else "--link"
        raise HypermeterError(f"--send-clock beside {option}, expected one: the clock that is followed is the master")
    if is_file and send_clock:
        raise HypermeterError("--send-clock beside a file, which has a tempo and needs no clock; leave it out")
    if simulate and (bars is None or follow or link):
        raise HypermeterError("--simulate needs --bars, and nothing to follow")
    if simulate and not is_file:
        raise HypermeterError("--simulate plays faster than time, expected a file FILE.mid in place of the port")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """While it plays: no long garbage collection, threads that switch quickly, SIGTERM as Ctrl-C."""
    before = sys.getswitchinterval()
    is_main = threading.current_thread() is threading.main_thread()
    old = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # later collections skip what is loaded now
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
        if is_main:
            signal.signal(signal.SIGTERM, old)


@contextmanager
def _status(engine: "Engine", is_shown: bool) -> Iterator[None]:
    """Show bar, settings and jitter twice a second."""
    if not is_shown:
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from hypermeter.share.live.asking import status_line

    with Live(
        get_renderable=lambda: Text(status_line(engine)),
        console=Console(stderr=True),
        refresh_per_second=2,
        transient=True,
    ):
        yield
