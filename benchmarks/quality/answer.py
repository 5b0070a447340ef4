"""What drums that answer live make of a rhythm: hits where it was played a bar before, and elsewhere, and how many.

    python benchmarks/quality/answer.py MODEL NPZ [--pieces 20] [--bars 8] [--seed 0]

Pieces are taken evenly from the performances of NPZ that are long enough. The onsets of kick and snare of a drummer, as
loud and as late as they were, are what somebody plays on an input, in simulated time; his other voices are not heard.
The table has, over the bars after the first,

- at taps: share of the steps a bar after a tap at which a loud voice (kick, snare, toms, crash) sounds;
- elsewhere: the same of all other steps;
- loud hits: hits of loud voices a bar, and that as a share of those without an input, with the 95 % interval of the
  pieces (bootstrap of the paired sums);
- others: hits of the other voices a bar, such as hats;
- loudness: correlation of the velocities of taps and of the loudest of their answers.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.grooves import read_npz
from hypermeter.play.follow import loud_voices
from hypermeter.play.loading import kit_of, load_player
from hypermeter.play.player import Player
from hypermeter.play.request import FollowOptions, PlanOptions
from hypermeter.play.state import Passage
from hypermeter.share.live import Engine, LiveConditions, LiveSettings, OwnTempo, Sampler, SimulatedClock
from hypermeter.share.live.hearing import INPUT_TICKS_PER_QUARTER, Ear, part_steps
from hypermeter.share.live.input_file import Recorded

ROWS = {
    "no input": ("off", "free", "bar"),
    "follow": ("follow", "free", "bar"),
    "follow --between silent": ("follow", "silent", "bar"),
    "follow --ahead step": ("follow", "free", "step"),
    "complement": ("complement", "free", "bar"),
    "complement --ahead step": ("complement", "free", "step"),
}


class Nowhere:
    """A sink that keeps nothing."""

    def send(self, message: tuple[int, ...], when: float) -> None:
        pass


class Keeping(Sampler):
    """A sampler that keeps what it played."""

    def __init__(self, player: Player, following: FollowOptions):
        super().__init__(player, following)
        self.played: dict[int, Passage] = {}

    def sample(self, state, *arguments):
        passage, after = super().sample(state, *arguments)
        self.played[state.inner.position] = passage
        return passage, after


def taps_of(groove: Groove) -> Recorded:
    """Return the onsets of kick and snare, as they are played, as recorded input."""
    loud = np.where(groove.hits[:, :2] > 0, groove.velocity[:, :2], 0)
    recorded = []
    for step in np.flatnonzero(loud.max(1)):
        position = step + float(groove.offset[step, loud[step].argmax()])
        ticks = max(round(position / groove.grid.steps_per_quarter * INPUT_TICKS_PER_QUARTER), 0)
        recorded.append((ticks, (0x90, 60, int(np.clip(np.rint(127 * loud[step].max()), 1, 127)))))
    return sorted(recorded)


def answered(player: Player, groove: Groove, row: tuple[str, str, str], seed: int) -> Passage:
    """Return what is played to the taps of a groove, as long as it is."""
    answer, between, ahead = row
    sampler = Keeping(player, FollowOptions(between=between))  # pyright: ignore[reportArgumentType]
    steps = part_steps(player.grid, ahead)
    Engine(
        sampler,
        sampler.begin(None, groove.tempo_bpm),
        LiveConditions.of(player, PlanOptions(), 1, groove.tempo_bpm),
        kit_of(player),
        player.grid,
        Nowhere(),
        SimulatedClock(0.001),
        OwnTempo(groove.tempo_bpm, player.grid.steps_per_quarter),
        LiveSettings(answer=answer, seed=seed),
        ahead_steps=steps,
        num_bars=groove.num_bars,
        ear=Ear(player.grid, steps, source=taps_of(groove)),
    ).run()
    return Passage.joined([sampler.played[start] for start in sorted(sampler.played)])


def measure(player: Player, groove: Groove, played: Passage) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return counts and the pairs of velocities of taps and answers.

    The counts are steps at taps, those of them with a loud hit, the same elsewhere, loud hits, other hits.
    """
    size, loud = player.grid.steps_per_bar, loud_voices(kit_of(player))
    others = [voice for voice in range(player.num_drums) if voice not in loud]
    own = np.where(groove.hits[:, :2] > 0, groove.velocity[:, :2], 0).max(1)
    at, hits = own[:-size] > 0, played.hits[size : len(own)]
    sounds, velocity = hits[:, loud].any(1), played.velocity[size : len(own), loud].max(1)
    counts = [
        at.sum(),
        (at & sounds).sum(),
        (~at).sum(),
        (~at & sounds).sum(),
        hits[:, loud].sum(),
        hits[:, others].sum(),
    ]
    both = at & sounds
    return np.array(counts, float), list(zip(own[:-size][both], velocity[both], strict=True))


def main(
    model: str,
    npz: Path,
    /,
    pieces: int = 20,
    bars: int = 8,
    rows: tuple[str, ...] = tuple(ROWS),
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print the table.

    Args:
        model: a shipped model, a checkpoint or a run.
        npz: folder of performances in the metre of the model.
        pieces: number of them.
        bars: of each, from its first on.
        rows: of the table; without an input is always among them.
        seed: of the drums, and of the bootstrap.
        out: JSON file to write, too.
    """
    player = load_player(model)
    size = bars * player.grid.steps_per_bar
    grooves = [read_npz(path) for path in sorted(npz.glob("*.npz"))]
    grooves = [groove for groove in grooves if len(groove) >= size and groove.hits[:size, :2].any()]
    if not grooves:
        raise HypermeterError(f"{npz}: no performance of {bars} bars, expected some; choose --bars")
    chosen = [grooves[round(place)] for place in np.linspace(0, len(grooves) - 1, min(pieces, len(grooves)))]
    chosen = [replace(groove.bars(0, bars), shift=0.0) for groove in chosen]
    print(f"{len(chosen)} pieces of {bars} bars", flush=True)
    free, random, table = None, np.random.default_rng(seed), {}
    for name in dict.fromkeys((next(iter(ROWS)), *rows)):
        row = ROWS[name]
        results = [measure(player, groove, answered(player, groove, row, seed)) for groove in chosen]
        counts, pairs = np.array([counts for counts, _ in results]), [pair for _, each in results for pair in each]
        free = counts if free is None else free
        drawn = random.integers(len(chosen), size=(2000, len(chosen)))
        shares = counts[drawn, 4].sum(1) / free[drawn, 4].sum(1)
        total, per_bar = counts.sum(0), len(chosen) * (bars - 1)
        table[name] = {
            "at_taps": total[1] / total[0],
            "elsewhere": total[3] / total[2],
            "loud_hits": total[4] / per_bar,
            "share": total[4] / free[:, 4].sum(),
            "interval": np.quantile(shares, (0.025, 0.975)).tolist(),
            "others": total[5] / per_bar,
            "loudness": float(np.corrcoef(np.array(pairs).T)[0, 1]),
        }
        print(name, " ".join(f"{key} {np.round(value, 3)}" for key, value in table[name].items()), flush=True)
    if out is not None:
        out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        sys.exit(str(error))
