"""Requests and answers as pydantic models; grooves to arrays and back."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, check_metre
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import Kit
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.play.compose import TEMPO_BPM
from hypermeter.play.infill import InfillResult
from hypermeter.play.loading import kit_of
from hypermeter.play.plan import KINDS, NUMBERS, Plan
from hypermeter.play.player import Player
from hypermeter.play.request import BOUNDS, Between, FollowOptions, InfillOptions, PlanOptions, SamplingOptions, Way

Request = TypeVar("Request", SamplingOptions, InfillOptions, FollowOptions)

MAX_STEPS = MAX_MOMENTS = 2**16
DIGITS = 6
"""Decimal digits of velocities and offsets in answers."""


def _bounds(name: str) -> dict[str, Any]:
    """Return the bounds of a number of `BOUNDS`, as arguments of `Field`."""
    bound = BOUNDS[name]
    return {"gt" if bound.is_open else "ge": bound.least, "le": bound.most}


def _number(name: str) -> Any:
    """Return the type of a number of `BOUNDS`."""
    return Annotated[int if BOUNDS[name].is_whole else float, Field(**_bounds(name))]


Cell = Annotated[int, Field(ge=0, le=1)]
Text = Annotated[str, Field(pattern=r"^[xX1.\-0]*$", max_length=MAX_STEPS)]
Row = Annotated[list[Cell], Field(max_length=MAX_STEPS)] | Text
Rows = Annotated[list[Row], Field(min_length=1, max_length=128)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Distance = Annotated[float, Field(ge=-0.5, lt=0.5)]
Velocity = Annotated[list[Share], Field(max_length=MAX_STEPS)]
Offset = Annotated[list[Distance], Field(max_length=MAX_STEPS)]
Openness = Annotated[list[Share | None], Field(max_length=MAX_STEPS)]
Codes = Annotated[list[Annotated[int, Field(ge=0, le=1024)]], Field(min_length=len(KINDS), max_length=len(KINDS))]
Numbers = Annotated[list[float | None], Field(min_length=len(NUMBERS), max_length=len(NUMBERS))]


class Message(BaseModel):
    """A message in which unknown fields, and numbers in quotes, are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class GridMessage(Message):
    """A metre and how finely it is cut."""

    steps_per_beat: Annotated[int, Field(ge=1, le=64)] = 4
    beats_per_bar: Annotated[int, Field(ge=1, le=64)] = 4
    bars_per_phrase: Annotated[int, Field(ge=1, le=64)] = 4
    beat_unit: Literal[1, 2, 4, 8, 16, 32] = 4


class ChokeMessage(Message):
    """A choke of a voice, by its row."""

    step: int = Field(ge=0, lt=2**24)
    voice: int = Field(ge=0, lt=128)
    offset: Distance = 0.0


class StrokeMessage(ChokeMessage):
    """A further stroke of a cell, beside its hit; openness is of a hi-hat, null where it is not known."""

    velocity: Share = DEFAULT_VELOCITY
    openness: Share | None = None


class GrooveMessage(Message):
    """A groove. Rows are voices, columns are steps: the transpose of arrays (T, V) in Python.

    Openness is null where it is not known, and where there is no hit of a hi-hat.
    """

    hits: Rows
    voices: Annotated[list[Name], Field(min_length=1, max_length=128)] | None = None
    velocity: Annotated[list[Velocity], Field(max_length=128)] | None = None
    offset: Annotated[list[Offset], Field(max_length=128)] | None = None
    shift: float = Field(0.0, ge=-0.5, lt=0.5)
    tempo_bpm: float = Field(TEMPO_BPM, **_bounds("tempo_bpm"))
    grid: GridMessage | None = None
    strokes: Annotated[list[StrokeMessage], Field(max_length=MAX_MOMENTS)] = Field([])
    openness: Annotated[list[Openness], Field(max_length=128)] | None = None
    chokes: Annotated[list[ChokeMessage], Field(max_length=MAX_MOMENTS)] = Field([])


class GrooveAnswer(Message):
    """A groove with all its fields."""

    voices: list[str]
    hits: list[list[Cell]]
    velocity: list[list[float]]
    offset: list[list[float]]
    shift: float
    tempo_bpm: float
    grid: GridMessage
    strokes: list[StrokeMessage]
    openness: list[list[float | None]] | None
    chokes: list[ChokeMessage]


def _message(request: type, **types: Any) -> Any:
    """Return a message with the names, bounds and defaults of a dataclass of `play.request`.

    Args:
        request: the dataclass.
        types: of its fields that are not numbers of `BOUNDS`.
    """
    described = {}
    for item in fields(request):
        kind = types[item.name] if item.name in types else _number(item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        described[item.name] = (kind | None if default is None else kind, default)
    return create_model(request.__name__, __base__=Message, **described)


def _curve(name: str) -> Any:
    """Return the type of a number, or of points that are spread over the bars."""
    return _number(name) | Annotated[list[_number(name)], Field(min_length=1, max_length=1024)]


_PlanOptions = _message(
    PlanOptions,
    sections=Annotated[str, Field(min_length=1, max_length=2000)],
    style=Name,
    fill=Annotated[list[bool | None], Field(min_length=1, max_length=1024)],
    density=_curve("density"),
    offbeat=_curve("offbeat"),
)
_Sampling = _message(SamplingOptions, bias=Annotated[dict[Name, _number("bias")], Field(max_length=128)])
_Infilling = _message(InfillOptions)
_Following = _message(
    FollowOptions,
    answer=Annotated[list[Name], Field(min_length=1, max_length=128)],
    between=Between,
    touch=bool,
    way=Way,
)


class PlanMessage(_PlanOptions):
    """A plan of the new bars, see `PlanOptions`; or, by `labels` and `numbers`, of each bar from the first of the
    context or primer on, null where it is open.
    """

    labels: Annotated[list[Codes], Field(min_length=1, max_length=4096)] | None = None
    numbers: Annotated[list[Numbers], Field(min_length=1, max_length=4096)] | None = None


class Options(_Sampling):
    """Fields of every request that samples."""

    model: Name | None = None
    plan: PlanMessage | None = None
    expression: bool = True


class GenerateRequest(Options):
    """Bars without a primer, on the model's grid or another that it plays."""

    bars: int = Field(4, **_bounds("bars"))
    grid: GridMessage | None = None
    tempo_bpm: float = Field(TEMPO_BPM, **_bounds("tempo_bpm"))


class ContinueRequest(Options):
    """Bars after a primer, with its velocity and offsets."""

    groove: GrooveMessage
    bars: int = Field(4, **_bounds("bars"))


class InfillRequest(Options, _Infilling):
    """A groove whose cells that are not known are filled in, given those that are, later ones included.

    `some` has rows as `known` has: of the voices of a step that are 1 there, at least one sounds.
    """

    groove: GrooveMessage
    known: Rows
    some: Rows | None = None
    context: GrooveMessage | None = None


class VaryRequest(Options, _Infilling):
    """A groove to vary by a share of its cells; without a plan, the plan is what is measured in it."""

    groove: GrooveMessage
    strength: float = Field(**_bounds("strength"))
    keep: Annotated[list[Name], Field(max_length=128)] = Field([])


class FollowRequest(Options, _Infilling, _Following):
    """A rhythm, of which the loudest hit of each step is a tap, to be followed; with voices of a groove that stay."""

    groove: GrooveMessage
    lock: GrooveMessage | None = None
    keep: Annotated[list[Name], Field(max_length=128)] = Field([])


class HumanizeRequest(Message):
    """A groove to be played by the model, with the feel of another groove or of a name, see `play.humanize`.

    `push` is in ms, by voice: above 0 earlier, below 0 later.
    """

    model: Name | None = None
    groove: GrooveMessage
    like: GrooveMessage | Name | None = None
    amount: float = Field(1.0, **_bounds("amount"))
    timing: float = Field(1.0, **_bounds("amount"))
    velocity: float = Field(1.0, **_bounds("amount"))
    keep: Literal["timing", "velocity"] | None = None
    push: dict[Name, Annotated[float, Field(ge=-1000, le=1000)]] = Field({}, max_length=128)
    seed: int = Field(0, **_bounds("seed"))
    temperature: float = Field(SamplingOptions.temperature, **_bounds("temperature"))


class AnalyseRequest(Message):
    """A groove to measure."""

    groove: GrooveMessage
    model: Name | None = None


class WriteRequest(Message):
    """A groove to write as MIDI."""

    groove: GrooveMessage
    model: Name | None = None


class Played(Message):
    """A groove and its seed."""

    groove: GrooveAnswer
    seed: int


class SampleSize(Message):
    """Effective sample size of the particles, see `play.infill.InfillResult`."""

    smallest: float
    mean: float


class Filled(Played):
    """A groove that was filled in."""

    effective_sample_size: SampleSize
    warning: str


class Measured(Message):
    """Metrics by name, undefined ones null."""

    metrics: dict[str, Any]


class Read(Message):
    """The groove in a MIDI file, and a line for each choice in reading the file, and each part that is not in it."""

    groove: GrooveAnswer
    losses: list[str]


class ModelAnswer(Message):
    """The voices, grid and labels of a model; the grids that it learnt, and whether it plays any other."""

    name: str
    voices: list[str]
    pitches: list[list[int]]
    grid: GridMessage
    grids: list[GridMessage]
    every_metre: bool
    labels: dict[str, list[str]] | None
    has_expression: bool


class LimitsAnswer(Message):
    """Limits of a request."""

    body_bytes: int
    bars: int
    particles: int
    seconds: float


class ModelsAnswer(Message):
    """The models, the default first, and the limits."""

    models: list[ModelAnswer]
    limits: LimitsAnswer


class Health(Message):
    """Status of the server, and how many requests run."""

    status: Literal["ok"]
    version: str
    running: int
    slots: int


class Problem(Message):
    """Reason why a request was refused, in one line."""

    error: str


# ---------------------------------------------------------------------- grooves


MAX_STEPS_PER_BAR = 96
"""Of the grid of a request: 4/4 in 24 steps a beat."""


def on_grid(player: Player, *messages: GrooveMessage | GridMessage | None) -> Player:
    """Return the player on the grid of the first message that has one.

    Raises:
        HypermeterError: the model serves another grid only.
    """
    for message in messages:
        grid = message.grid if isinstance(message, GrooveMessage) else message
        if grid is not None:
            wanted = Grid(**grid.model_dump())
            if wanted.steps_per_bar > MAX_STEPS_PER_BAR:
                raise HypermeterError(f"grid: {wanted.steps_per_bar} steps a bar, expected at most {MAX_STEPS_PER_BAR}")
            if isinstance(player.grid_choice, Grid):
                check_metre(wanted, player.grid, "groove")  # of one metre; bars of a phrase may differ
                return player
            return player.on(wanted)
    return player


def to_groove(message: GrooveMessage, player: Player, most_bars: int, what: str = "groove") -> Groove:
    """Return a groove on the model's grid and voices; voices that are left out are silent.

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
    for name in ("velocity", "offset", "openness"):
        rows = getattr(message, name)
        if rows is not None:
            if [len(row) for row in rows] != [hits.shape[1]] * len(hits):
                raise HypermeterError(f"{what}: {name} of another shape than hits, expected a number for each cell")
            arrays[name] = np.array(rows, np.float32).reshape(hits.shape)  # None becomes NaN
    by_kit = {}
    for name, rows in arrays.items():
        by_kit[name] = np.zeros((hits.shape[1], kit.num_voices), rows.dtype)
        by_kit[name][:, columns] = rows.T
    if "offset" in by_kit:
        by_kit["offset"] = by_kit["offset"].clip(-0.5, np.nextafter(np.float32(0.5), np.float32(0)))
    moments = {
        "strokes": Strokes.of_table(_table_of(message.strokes, StrokeMessage, columns, hits.shape[1], what)),
        "chokes": Chokes.of_table(_table_of(message.chokes, ChokeMessage, columns, hits.shape[1], what)),
    }
    return Groove(**by_kit, **moments, tempo_bpm=message.tempo_bpm, kit=kit, grid=player.grid, shift=message.shift)


def _table_of(
    messages: Sequence[ChokeMessage], kind: type[ChokeMessage], columns: Sequence[int], steps: int, what: str
) -> np.ndarray:
    """Return strokes or chokes as the table of their value in Python.

    Raises:
        HypermeterError: one of a row or a step that the groove has not.
    """
    for message in messages:
        if message.voice >= len(columns) or message.step >= steps:
            place = f"row {message.voice}, step {message.step}"
            raise HypermeterError(f"{what}: a stroke or choke at {place} of {len(columns)} rows, {steps} steps")
    rows = [[*(message.model_dump() | {"voice": columns[message.voice]}).values()] for message in messages]
    return np.array(rows, np.float32).reshape(-1, len(kind.model_fields))


def cells_of(rows: Sequence[list[int] | str], what: str) -> np.ndarray:
    """Return (rows, steps) of 0 and 1; raise ``HypermeterError`` if the rows differ in length."""
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise HypermeterError(f"{what}: rows of {sorted(lengths)} steps, expected all of one length")
    cells = [[symbol in "xX1" for symbol in row] if isinstance(row, str) else row for row in rows]
    return np.array(cells, np.uint8).reshape(len(cells), -1)


def columns_named(names: Sequence[str], kit: Kit, what: str) -> list[int]:
    """Return the columns of voices; raise ``HypermeterError`` for one that the kit does not have, or one twice."""
    columns = [kit.column_of(name, what) for name in names]
    if len(set(names)) < len(names):
        raise HypermeterError(f"{what}: a voice twice, expected each once")
    return columns


def from_groove(groove: Groove) -> GrooveAnswer:
    """Return a groove as a message."""
    assert isinstance(groove.kit, Kit)
    return GrooveAnswer(
        voices=list(groove.kit.names),
        hits=groove.hits.T.tolist(),
        velocity=groove.velocity.astype(float).round(DIGITS).T.tolist(),
        offset=groove.offset.astype(float).round(DIGITS).clip(-0.5, 0.5 - 10**-DIGITS).T.tolist(),
        shift=groove.shift,
        tempo_bpm=groove.tempo_bpm,
        grid=GridMessage.model_validate(groove.grid.to_dict()),
        strokes=[StrokeMessage(**values) for values in _messages_of(groove.strokes)],
        openness=None if np.isnan(groove.openness).all() else _with_null(groove.openness.T),
        chokes=[ChokeMessage(**values) for values in _messages_of(groove.chokes)],
    )


def from_infill(done: InfillResult) -> SampleSize:
    """Return the effective sample size of an infill as a message."""
    return SampleSize(smallest=done.smallest, mean=float(done.effective_sample_size.mean()))


def _with_null(values: np.ndarray) -> list[Any]:
    """Return rounded values as nested lists, with `None` in the place of NaN."""
    rounded = values.astype(float).round(DIGITS)
    return np.where(np.isnan(rounded), None, rounded).tolist()  # pyright: ignore[reportCallIssue, reportArgumentType]


def _messages_of(moments: Chokes) -> Iterator[dict[str, Any]]:
    """Yield the fields of each stroke or choke."""
    names = [field.name for field in fields(moments)]
    for row in _with_null(moments.table):
        values = dict(zip(names, row, strict=True))
        last = 0.5 - 10**-DIGITS  # What is just below half a step would be rounded to it.
        whole = {name: int(values[name]) for name in ("step", "voice")}
        yield values | whole | {"offset": min(values["offset"], last)}


# ---------------------------------------------------------------------- options


def to_request(kind: type[Request], message: Message) -> Request:
    """Return a dataclass of `play.request` from the fields of a message."""
    return kind(**{item.name: getattr(message, item.name) for item in fields(kind)})


def to_plan_options(message: PlanMessage | None, bars: int) -> tuple[PlanOptions, Plan | None]:
    """Return the options of the plan of the new bars; or, in their place, a plan that is given bar by bar.

    Args:
        message: of a request; `None` leaves all open.
        bars: of context, primer and new bars together; a plan is cut, or its last bar repeated, to as many.

    Raises:
        HypermeterError: labels and numbers of different lengths, or beside other fields; a number out of its bounds.
    """
    values = {} if message is None else message.model_dump(exclude_none=True)
    if "labels" not in values and "numbers" not in values:
        return PlanOptions(**values), None
    if set(values) != {"labels", "numbers"} or len(values["labels"]) != len(values["numbers"]):
        expected = "expected labels and numbers of as many bars, and nothing else"
        raise HypermeterError(f"plan: {', '.join(values)}, {expected}")
    for bar in values["numbers"]:
        for name, value in zip(NUMBERS, bar, strict=True):
            if value is not None:
                BOUNDS[name].check(f"plan.numbers: {name}", value)
    numbers = np.array(values["numbers"], np.float32)  # None becomes NaN
    return PlanOptions(), Plan(np.array(values["labels"], np.int64)[None], numbers[None]).bars(0, bars)
