"""Rewards read from YAML, and those made of the metrics of a folder of performances."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.core.yaml_file import read_yaml
from hypermeter.io.npz import kit_name
from hypermeter.learn.dataset import read_folder, read_shared_kit_and_grid
from hypermeter.learn.rl.rewards import Reward, Term
from hypermeter.music.metrics import METRICS

EXAMPLE = "{metric: density, level: bar, target: 0.12, scale: 0.02, weight: 1}"


def style_terms(
    npz_dir: str | Path,
    grid: Grid,
    metrics: Iterable[str] = ("avg_hits", "syncopation", "co_occurrence", "step_entropy"),
    level: Literal["bar", "phrase", "piece"] = "phrase",
    weight: float = 1.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    kit: Kit | None = None,
) -> list[Term]:
    """Return terms for nearness to a style: of each metric, the mean over performances as target, the spread as scale.

    Args:
        npz_dir: folder of performances in the style.
        grid: grid of the rewarded music, and of files that name none.
        metrics: metrics that give one number.
        level: length of the chunks that are measured.
        weight: weight of all terms together.
        options: metric -> its keywords.
        kit: kit of the rewarded music, and of files that name none; None if it is not known.

    Raises:
        HypermeterError: no performance there, files of different kits or of another kit or grid, or a metric that is
            undefined in all of them.
    """
    names = list(metrics)
    files, sequences = read_folder(Path(npz_dir))
    file_kit, file_grid = read_shared_kit_and_grid(files, kit, grid)
    if file_grid != grid:
        raise HypermeterError(f"{npz_dir}: {file_grid}, expected {grid}; prepare it on the grid of the reward")
    if kit is not None and file_kit != kit:
        raise HypermeterError(f"{npz_dir}: {kit_name(file_kit)}, expected {kit_name(kit)}; prepare it with the model's")
    terms = []
    for name in names:
        keywords = (_voice_groups(name, file_kit) if file_kit else {}) | dict((options or {}).get(name, {}))
        probe = Term(name, level, target=0.0, options=keywords)
        values = torch.cat([probe.values(torch.from_numpy(sequence)[None], grid)[0] for sequence in sequences])
        values = values[~values.isnan()].double()
        if len(values) < 2:
            raise HypermeterError(f"{npz_dir}: {name} is defined in {len(values)} {level}s, expected at least 2")
        spread = max(values.std().item(), 1e-6)
        terms.append(
            Term(name, level, target=values.mean().item(), scale=spread, weight=weight / len(names), options=keywords)
        )
    return terms


def load_reward(source: str | Path | Mapping[str, Any], grid: Grid = Grid(), kit: Kit | None = None) -> Reward:
    """Read a reward from a YAML file, or from the mapping that such a file holds.

    ``terms`` is a list of terms, each with the fields of ``Term``; ``style`` has the arguments of ``style_terms``, its
    folder as ``folder``; ``normalise`` may be true. With a kit, ``voices`` may be names of its voices, and metrics of
    streams or cymbals take those of the kit.

    Raises:
        HypermeterError: a file that cannot be read, or is not a reward.
    """
    where = "reward" if isinstance(source, Mapping) else str(source)
    record: Any = source if isinstance(source, Mapping) else read_yaml(source, "reward", f"terms: [{EXAMPLE}]")
    if not isinstance(record, Mapping) or not {"terms", "style"} & set(record):
        raise HypermeterError(f"{where}: no terms, expected a list under 'terms', each as {EXAMPLE}")
    if unknown := set(record) - {"terms", "style", "normalise"}:
        raise HypermeterError(f"{where}: unknown field {min(map(str, unknown))!r}; expected terms, style, normalise")
    try:
        terms = [_term(fields_of_term, kit) for fields_of_term in record.get("terms") or []]
        if style := record.get("style"):
            terms += style_terms(
                style["folder"], grid, kit=kit, **{key: style[key] for key in style if key != "folder"}
            )
    except (TypeError, KeyError, AttributeError) as error:
        raise HypermeterError(
            f"{where}: a term or style that does not fit ({error}); write terms as {EXAMPLE}"
        ) from error
    except HypermeterError as error:
        raise HypermeterError(f"{where}: {str(error).removeprefix('reward: ')}") from error
    normalise = record.get("normalise", False)
    if not isinstance(normalise, bool):
        raise HypermeterError(f"{where}: normalise is {normalise!r}, expected true or false")
    for term in terms:
        voices = 1 + max(term.voices or (0,)) if kit is None else kit.num_voices
        try:
            term.values(torch.zeros(1, grid.steps_per_phrase, voices), grid)
        except TypeError as error:
            raise HypermeterError(f"{where}: {term.metric} does not take these options ({error}); fix them") from error
        except HypermeterError as error:
            if kit is not None:  # without one the number of voices is not known
                reason = str(error).removeprefix("reward: ")
                reason = reason if reason.startswith(term.metric) else f"{term.metric}: {reason}"
                raise HypermeterError(f"{where}: {reason}") from error
    return Reward(terms, normalise=normalise)


def _term(record: Any, kit: Kit | None) -> Term:
    if not isinstance(record, Mapping):
        raise HypermeterError(f"term {record!r}, expected fields, as {EXAMPLE}")
    if unknown := set(record) - {field.name for field in fields(Term)}:
        raise HypermeterError(f"unknown field {min(map(str, unknown))!r} in a term; write it as {EXAMPLE}")
    arguments: dict[str, Any] = dict(record)
    if isinstance(band := arguments.get("band"), list):
        try:
            arguments["band"] = tuple(map(float, band))
        except (TypeError, ValueError):
            arguments["band"] = tuple(band)  # which Term refuses
    if (voices := arguments.get("voices")) is not None:
        voices = [voices] if isinstance(voices, str | int) else voices
        arguments["voices"] = tuple(_column(voice, kit) if isinstance(voice, str) else voice for voice in voices)
    if kit is not None and isinstance(options := arguments.get("options", {}), Mapping):
        arguments["options"] = _voice_groups(arguments.get("metric"), kit) | dict(options)
    return Term(**arguments)


def _voice_groups(metric: Any, kit: Kit) -> dict[str, Any]:
    """Return the groups of the kit's voices that a metric takes as keywords."""
    parameters = signature(METRICS[metric]).parameters if metric in METRICS else {}
    return {name: getattr(kit, name) for name in ("streams", "cymbals") if name in parameters}


def _column(voice: str, kit: Kit | None) -> int:
    if kit is None:
        raise HypermeterError(f"voice {voice!r} without a kit to find it in; expected numbers of columns")
    return kit.column_of(voice, "voices")
