"""Floors: bits per step of three tables of counts, which a model must be well below.

A predictor is a table of probabilities (rows, V) and a rule that chooses the row for each step and voice, from the
position and the bar before. Each table is fitted on training files and scored on held-out files.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hypermeter.learn.evaluate.likelihood import summarize

Rule = Callable[[np.ndarray, int], np.ndarray]
"""Hits (T, V) and steps per bar -> row of the table for each step and voice, (T, V)."""


def same_everywhere(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Use one row."""
    return np.zeros(hits.shape, int)


def step_of_bar(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Use one row for each step of the bar."""
    return np.broadcast_to(np.arange(len(hits))[:, None] % steps_per_bar, hits.shape)


def previous_bar(hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Use three rows for each step of the bar: the cell a bar before is silent, hit, or before the file begins."""
    before = np.full(hits.shape, 2)
    before[steps_per_bar:] = hits[:-steps_per_bar]
    return step_of_bar(hits, steps_per_bar) * 3 + before


FLOORS: dict[str, Rule] = {
    "voice marginals": same_everywhere,
    "step of the bar": step_of_bar,
    "previous bar": previous_bar,
}


def fit(rule: Rule, sequences: Sequence[np.ndarray], steps_per_bar: int) -> np.ndarray:
    """Return a rule's table (rows, V): (hits + 1/2) / (steps + 1) of each row and voice; 1/2 in a row never used."""
    rows, voices = 3 * steps_per_bar, sequences[0].shape[1]
    counts = np.zeros(rows * voices * 2, np.int64)
    for sequence in sequences:
        cells = (rule(sequence, steps_per_bar) * voices + np.arange(voices)) * 2 + sequence
        counts += np.bincount(cells.ravel(), minlength=len(counts))
    silences, hits = counts.reshape(rows, voices, 2).transpose(2, 0, 1)
    return (hits + 0.5) / (silences + hits + 1)


def predict(rule: Rule, table: np.ndarray, hits: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Return the probability of a hit, (T, V) in (0, 1)."""
    return np.take_along_axis(table, rule(hits, steps_per_bar), axis=0)


def bits(probs: np.ndarray, hits: np.ndarray) -> float:
    """Return -log2 p, summed over all cells, with independent voices."""
    return float(-np.log2(np.where(hits > 0, probs, 1 - probs)).sum())


def floors(
    train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], steps_per_bar: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return each of FLOORS, in bits per step summed over voices.

    Args:
        train: hits (T, V) of each file to fit on.
        held_out: hits (T, V) of each file to score, T >= 1.
        steps_per_bar: steps in a bar.
        seed: seed of the bootstrap over performances.

    Returns:
        Name -> ``summarize``.
    """
    steps = np.array(list(map(len, held_out)))
    results = {}
    for name, rule in FLOORS.items():
        table = fit(rule, train, steps_per_bar)
        total = np.array([bits(predict(rule, table, hits, steps_per_bar), hits) for hits in held_out])
        results[name] = summarize(total, steps, seed)
    return results
