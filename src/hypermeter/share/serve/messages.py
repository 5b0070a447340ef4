"""What goes over the wire: requests and answers as pydantic checks them, grooves to arrays and back."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, check_metre
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit
from hypermeter.play.compose import TEMPO_BPM
from hypermeter.play.loading import kit_of
from hypermeter.play.plan import KINDS, NUMBERS, Plan
from hypermeter.play.player import Player
from hypermeter.play.request import BOUNDS, InfillOptions, PlanOptions, SamplingOptions

Request = TypeVar("Request", SamplingOptions, InfillOptions)

MOST_STEPS = 2**16
DIGITS = 6
"""Of velocities and offsets that are sent."""


def _bounds(name: str) -> dict[str, Any]:
    """Return the bounds of a number that can be asked for, as a field takes them."""
    bound = BOUNDS[name]
    return {"gt" if bound.is_open else "ge": bound.least, "le": bound.most}


def _number(name: str) -> Any:
    """Return the type of a number that can be asked for, with its bounds."""
    return Annotated[int if BOUNDS[name].is_whole else float, Field(**_bounds(name))]


Cell = Annotated[int, Field(ge=0, le=1)]
Text = Annotated[str, Field(pattern=r"^[xX1.\-0]*$", max_length=MOST_STEPS)]
Row = Annotated[list[Cell], Field(max_length=MOST_STEPS)] | Text
Rows = Annotated[list[Row], Field(min_length=1, max_length=128)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Velocity = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(max_length=MOST_STEPS)]
Offset = Annotated[list[Annotated[float, Field(ge=-0.5, lt=0.5)]], Field(max_length=MOST_STEPS)]
Codes = Annotated[list[Annotated[int, Field(ge=0, le=1024)]], Field(min_length=len(KINDS), max_length=len(KINDS))]
Numbers = Annotated[list[float | None], Field(min_length=len(NUMBERS), max_length=len(NUMBERS))]


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
    tempo_bpm: float = Field(TEMPO_BPM, **_bounds("tempo_bpm"))
    grid: GridMessage | None = None


class GrooveAnswer(Message):
    """As a groove that is sent, with all its fields."""

    voices: list[str]
    hits: list[list[Cell]]
    velocity: list[list[float]]
    offset: list[list[float]]
    tempo_bpm: float
    grid: GridMessage


def _message(request: type, **types: Any) -> Any:
    """Return a message with the fields of a request of `play.request`: its names, bounds and defaults.

    Args:
        request: a dataclass.
        types: of its fields that are no numbers of `BOUNDS`.
    """
    told = {}
    for item in fields(request):
        kind = types[item.name] if item.name in types else _number(item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        told[item.name] = (kind | None if default is None else kind, default)
    return create_model(request.__name__, __base__=Message, **told)


def _curve(name: str) -> Any:
    """Return the type of a number, or of points that are spread over the bars."""
    return _number(name) | Annotated[list[_number(name)], Field(min_length=1, max_length=1024)]


_Wishes = _message(
    PlanOptions,
    sections=Annotated[str, Field(min_length=1, max_length=2000)],
    style=Name,
    fill=Annotated[list[bool | None], Field(min_length=1, max_length=1024)],
    density=_curve("density"),
    offbeat=_curve("offbeat"),
)
_Drawing = _message(SamplingOptions, bias=Annotated[dict[Name, _number("bias")], Field(max_length=128)])
_Filling = _message(InfillOptions)


class PlanMessage(_Wishes):
    """What is asked of each new bar, see `PlanOptions`; or, by `labels` and `numbers`, of each bar from the
    first that is heard, null where it is left open.
    """

    labels: Annotated[list[Codes], Field(min_length=1, max_length=4096)] | None = None
    numbers: Annotated[list[Numbers], Field(min_length=1, max_length=4096)] | None = None


class Options(_Drawing):
    """Of all that is drawn."""

    model: Name | None = None
    plan: PlanMessage | None = None
    expression: bool = True


class GenerateRequest(Options):
    """From silence."""

    bars: int = Field(4, **_bounds("bars"))
    tempo_bpm: float = Field(TEMPO_BPM, **_bounds("tempo_bpm"))


class ContinueRequest(Options):
    """On from a groove, which is heard with its velocity and timing."""

    groove: GrooveMessage
    bars: int = Field(4, **_bounds("bars"))


class InfillRequest(Options, _Filling):
    """The cells of a groove that are not known, given those that are, also later ones."""

    groove: GrooveMessage
    known: Rows
    context: GrooveMessage | None = None


class VaryRequest(Options, _Filling):
    """A groove played a little or quite differently; left out, the plan is what is measured in it."""

    groove: GrooveMessage
    strength: float = Field(**_bounds("strength"))
    keep: Annotated[list[Name], Field(max_length=128)] = Field([])


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
    """Of the particles, effective: see `play.infill.Infilled`."""

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


def to_groove(message: GrooveMessage, player: Player, most_bars: int, what: str = "groove") -> Groove:
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
    assert isinstance(groove.kit, Kit)
    return GrooveAnswer(
        voices=list(groove.kit.names),
        hits=groove.hits.T.tolist(),
        velocity=groove.velocity.astype(float).round(DIGITS).T.tolist(),
        offset=groove.offset.astype(float).round(DIGITS).clip(-0.5, 0.5 - 10**-DIGITS).T.tolist(),
        tempo_bpm=groove.tempo_bpm,
        grid=GridMessage.model_validate(groove.grid.to_dict()),
    )


# ---------------------------------------------------------------------- what is asked


def to_request(kind: type[Request], message: Message) -> Request:
    """Return what `play.request` makes of the fields of a message that have its names."""
    return kind(**{item.name: getattr(message, item.name) for item in fields(kind)})


def to_wishes(message: PlanMessage | None, bars: int) -> tuple[PlanOptions, Plan | None]:
    """Return the wishes for the new bars; or, in their place, the plan that is given bar by bar.

    Args:
        message: of a request; `None` wishes nothing.
        bars: heard and new ones, for which a plan is cut or goes on as it ends.

    Raises:
        HypermeterError: labels and numbers of different lengths, or beside wishes; a number out of its bounds.
    """
    told = {} if message is None else message.model_dump(exclude_none=True)
    if "labels" in told or "numbers" in told:
        return PlanOptions(), _plan_as_it_is(told).bars(0, bars)
    return PlanOptions(**told), None


def _plan_as_it_is(told: dict[str, Any]) -> Plan:
    if set(told) != {"labels", "numbers"} or len(told["labels"]) != len(told["numbers"]):
        raise HypermeterError(f"plan: {', '.join(told)}, expected labels and numbers of as many bars, and nothing else")
    for bar in told["numbers"]:
        for name, value in zip(NUMBERS, bar, strict=True):
            if value is not None:
                BOUNDS[name].check(f"plan.numbers: {name}", value)
    numbers = np.array(told["numbers"], np.float32)  # None becomes NaN
    return Plan(np.array(told["labels"], np.int64)[None], numbers[None])
