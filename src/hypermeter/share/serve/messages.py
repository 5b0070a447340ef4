"""What goes over the wire: requests and answers as pydantic checks them, grooves to arrays and back."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.core.limits import MOST_BIAS, MOST_GUIDANCE
from hypermeter.play.plan import KINDS, NUMBERS
from hypermeter.play.runtime import OnnxPlayer, PlanArrays, make_plan_arrays
from hypermeter.play.runtime.rng import MOST_SEED

MOST_STEPS = 2**16
DIGITS = 6
"""Of velocities and offsets that are sent."""

Cell = Annotated[int, Field(ge=0, le=1)]
Text = Annotated[str, Field(pattern=r"^[xX1.\-0]*$", max_length=MOST_STEPS)]
Row = Annotated[list[Cell], Field(max_length=MOST_STEPS)] | Text
Rows = Annotated[list[Row], Field(min_length=1, max_length=128)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Velocity = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(max_length=MOST_STEPS)]
Offset = Annotated[list[Annotated[float, Field(ge=-0.5, lt=0.5)]], Field(max_length=MOST_STEPS)]
Tempo = Annotated[float, Field(ge=20, le=400)]
Share = Annotated[float, Field(ge=0, le=1)]
Curve = Share | Annotated[list[Share], Field(min_length=1, max_length=1024)]
Codes = Annotated[list[Annotated[int, Field(ge=0, le=1024)]], Field(min_length=len(KINDS), max_length=len(KINDS))]
Number = Annotated[float, Field(ge=0, le=1000)] | None
Numbers = Annotated[list[Number], Field(min_length=len(NUMBERS), max_length=len(NUMBERS))]


class Message(BaseModel):
    """Unknown fields are refused, and numbers in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class GridMessage(Message):
    """A metre and how finely it is cut."""

    steps_per_beat: Annotated[int, Field(ge=1, le=64)] = 4
    beats_per_bar: Annotated[int, Field(ge=1, le=64)] = 4
    bars_per_phrase: Annotated[int, Field(ge=1, le=64)] = 4
    beat_unit: Literal[1, 2, 4, 8, 16, 32] = 4


class GrooveMessage(Message):
    """Drumming. Rows are voices, columns are steps: what Python calls (T, V) is turned."""

    hits: Rows
    voices: Annotated[list[Name], Field(min_length=1, max_length=128)] | None = None
    velocity: Annotated[list[Velocity], Field(max_length=128)] | None = None
    offset: Annotated[list[Offset], Field(max_length=128)] | None = None
    tempo_bpm: Tempo = 120.0
    grid: GridMessage | None = None


class GrooveAnswer(Message):
    """As a groove that is sent, with all its fields."""

    voices: list[str]
    hits: list[list[Cell]]
    velocity: list[list[float]]
    offset: list[list[float]]
    tempo_bpm: float
    grid: GridMessage


class PlanMessage(Message):
    """What is asked of each bar that is new, see ``hypermeter.model.plan.make_plan``; or, by ``labels`` and
    ``numbers``, of each bar from the first that is heard, null where it is left open.
    """

    sections: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    style: Name | None = None
    fill: Annotated[list[bool | None], Field(min_length=1, max_length=1024)] | None = None
    density: Curve | None = None
    offbeat: Curve | None = None
    tempo_bpm: Tempo | None = None
    labels: Annotated[list[Codes], Field(min_length=1, max_length=4096)] | None = None
    numbers: Annotated[list[Numbers], Field(min_length=1, max_length=4096)] | None = None


class Options(Message):
    """Of all that is drawn."""

    model: Name | None = None
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    bias: Annotated[dict[Name, Annotated[float, Field(ge=-MOST_BIAS, le=MOST_BIAS)]], Field(max_length=128)] = {}
    guidance: Annotated[float, Field(ge=0, le=MOST_GUIDANCE)] = 1.0
    plan: PlanMessage | None = None
    expression: bool = True


class GenerateRequest(Options):
    """From silence."""

    bars: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 4
    tempo_bpm: Tempo = 120.0


class ContinueRequest(Options):
    """On from a groove, which is heard with its velocity and timing."""

    groove: GrooveMessage
    bars: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 4


class InfillRequest(Options):
    """The cells of a groove that are not known, given those that are, also later ones."""

    groove: GrooveMessage
    known: Rows
    context: GrooveMessage | None = None
    particles: Annotated[int, Field(ge=1, le=65536)] = 64
    horizon_bars: Annotated[int, Field(ge=0, le=65536)] | None = None


class VaryRequest(Options):
    """A groove played a little or quite differently; left out, the plan is what is measured in it."""

    groove: GrooveMessage
    strength: Share
    keep: Annotated[list[Name], Field(max_length=128)] = []
    particles: Annotated[int, Field(ge=1, le=65536)] = 64


class AnalyseRequest(Message):
    """A groove to be measured."""

    groove: GrooveMessage
    model: Name | None = None


class WriteRequest(Message):
    """A groove to be written as MIDI."""

    groove: GrooveMessage
    model: Name | None = None


class Played(Message):
    """A groove and the seed that it was drawn with."""

    groove: GrooveAnswer
    seed: int


class SampleSize(Message):
    """Of the particles, effective: see ``runtime.infill.Infilled``."""

    smallest: float
    mean: float


class Filled(Played):
    """A groove around what was known."""

    effective_sample_size: SampleSize
    warning: str


class Measured(Message):
    """Metrics by name, undefined ones null."""

    metrics: dict[str, Any]


class Read(Message):
    """What a MIDI file holds, and a line for all that is not in it."""

    groove: GrooveAnswer
    losses: list[str]


class ModelAnswer(Message):
    """What a model plays and can be asked."""

    name: str
    voices: list[str]
    pitches: list[list[int]]
    grid: GridMessage
    labels: dict[str, list[str]] | None
    has_expression: bool


class LimitsAnswer(Message):
    """Of a request."""

    body_bytes: int
    bars: int
    particles: int
    seconds: float


class ModelsAnswer(Message):
    """The models, the first of which is taken where none is named."""

    models: list[ModelAnswer]
    limits: LimitsAnswer


class Health(Message):
    """That it runs, and how busy it is."""

    status: Literal["ok"]
    version: str
    running: int
    slots: int


class Problem(Message):
    """Why a request was refused, in one line."""

    error: str


# ---------------------------------------------------------------------- grooves


def kit_of(player: OnnxPlayer) -> Kit:
    """The kit that the model was exported with."""
    return Kit.from_dict(player.meta["kit"])


def to_groove(message: GrooveMessage, player: OnnxPlayer, most_bars: int, what: str = "groove") -> Groove:
    """A groove on the model's grid and voices; voices that are not sent are silent.

    Raises:
        HypermeterError: rows of different lengths, unknown voices, another metre, too many bars.
    """
    kit = kit_of(player)
    names = list(message.voices) if message.voices is not None else list(kit.names)
    columns = columns_named(names, kit, f"{what}.voices")
    if len(columns) != len(message.hits):
        raise HypermeterError(f"{what}: {len(message.hits)} rows of hits for {len(columns)} voices, expected as many")
    hits = cells_of(message.hits, f"{what}.hits")
    grid = player.grid if message.grid is None else Grid(**message.grid.model_dump())
    check_metre(grid, player.grid, what)
    if -(-hits.shape[1] // grid.steps_per_bar) > most_bars:
        raise HypermeterError(f"{what}: {hits.shape[1]} steps, expected at most {most_bars} bars")
    arrays: dict[str, np.ndarray] = {"hits": hits}
    for name in ("velocity", "offset"):
        rows = getattr(message, name)
        if rows is not None:
            if [len(row) for row in rows] != [hits.shape[1]] * len(hits):
                raise HypermeterError(f"{what}: {name} of another shape than hits, expected a number for each cell")
            arrays[name] = np.array(rows, np.float32).reshape(hits.shape)
    whole = {}
    for name, rows in arrays.items():
        whole[name] = np.zeros((hits.shape[1], kit.num_voices), rows.dtype)
        whole[name][:, columns] = rows.T
    if "offset" in whole:
        whole["offset"] = whole["offset"].clip(-0.5, np.nextafter(np.float32(0.5), np.float32(0)))
    return Groove(**whole, tempo_bpm=message.tempo_bpm, kit=kit, grid=player.grid)


def cells_of(rows: Sequence[list[int] | str], what: str) -> np.ndarray:
    """(rows, steps) of 0 and 1.

    Raises:
        HypermeterError: rows of different lengths.
    """
    told = [[each in "xX1" for each in row] if isinstance(row, str) else row for row in rows]
    if len({len(row) for row in told}) != 1:
        raise HypermeterError(f"{what}: rows of {sorted({len(row) for row in told})} steps, expected all of one length")
    return np.array(told, np.uint8).reshape(len(told), -1)


def columns_named(names: Sequence[str], kit: Kit, what: str) -> list[int]:
    """The columns of voices.

    Raises:
        HypermeterError: a voice that the kit does not have, or one twice.
    """
    for name in names:
        if name not in kit.names:
            raise HypermeterError(f"{what}: no voice {name!r} in kit {kit.name}; it has {', '.join(kit.names)}")
    if len(set(names)) < len(names):
        raise HypermeterError(f"{what}: a voice twice, expected each once")
    return [kit.names.index(name) for name in names]


def from_groove(groove: Groove) -> GrooveAnswer:
    """A groove as it is sent."""
    kit: Kit = groove.kit
    return GrooveAnswer(
        voices=list(kit.names),
        hits=groove.hits.T.tolist(),
        velocity=groove.velocity.astype(float).round(DIGITS).T.tolist(),
        offset=groove.offset.astype(float).round(DIGITS).clip(-0.5, 0.5 - 10**-DIGITS).T.tolist(),
        tempo_bpm=groove.tempo_bpm,
        grid=GridMessage.model_validate(groove.grid.to_dict()),
    )


def to_plan(message: PlanMessage | None, player: OnnxPlayer, bars: int, before: int = 0) -> PlanArrays | None:
    """The plan of ``bars`` new bars after some that were heard; None where nothing is asked.

    Raises:
        HypermeterError: a model without labels, an unknown label, a number of bars that does not fit.
    """
    asked = {} if message is None else message.model_dump(exclude_none=True)
    if not asked:
        return None
    if player.labels is None:
        raise HypermeterError(f"plan: {player.meta['name']} was made without labels, so nothing can be asked of it")
    if "labels" in asked or "numbers" in asked:
        given = _plan_as_it_is(asked)  # after its last bar a plan stays as it is, so that what is beyond says nothing
        return PlanArrays(given.labels[:, : before + bars], given.numbers[:, : before + bars])
    plan = make_plan_arrays(player.labels, bars, **asked)
    heard = PlanArrays.free(before)
    return PlanArrays(np.concatenate([heard.labels, plan.labels], 1), np.concatenate([heard.numbers, plan.numbers], 1))


def _plan_as_it_is(asked: dict[str, Any]) -> PlanArrays:
    if set(asked) != {"labels", "numbers"} or len(asked["labels"]) != len(asked["numbers"]):
        found = ", ".join(asked)
        raise HypermeterError(f"plan: {found}, expected labels and numbers of as many bars, and nothing else")
    labels = np.array(asked["labels"], np.int64)
    numbers = np.array(asked["numbers"], np.float32)  # None becomes NaN
    tempo, shares = numbers[:, :1], numbers[:, 1:]
    if (tempo < 1).any() or (shares > 1).any():
        raise HypermeterError(f"plan.numbers: expected {', '.join(NUMBERS)}: from 1, and shares from 0 to 1")
    return PlanArrays(labels[None], numbers[None])
