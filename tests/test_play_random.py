"""Random numbers that are functions of seed, purpose, row, step and index: known answers, and independence."""

import math

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MAX_SEED
from hypermeter.play.random import (
    BLOCK,
    EXPRESSION,
    HITS,
    MAX_NUMBERS,
    MAX_ROWS,
    RESAMPLING,
    VARIATION,
    RandomStream,
    choose_seed,
    generator,
    threefry,
    uniforms,
)

KNOWN = (
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
)
"""Key, counter and what comes of them, from the answers that come with Random123 (threefry2x32, 20 rounds)."""


def reference(seed, purpose, row, step, index):
    """A number by whole numbers without end, straight from the paper."""
    mask, rotations = 2**32 - 1, (13, 15, 26, 6, 17, 29, 16, 24)
    keys = [seed % 2**32, seed // 2**32]
    keys.append(keys[0] ^ keys[1] ^ 0x1BD11BDA)
    x = step + keys[0] & mask
    y = (purpose << 28 | row << 12 | index // 2) + keys[1] & mask
    for turn in range(20):
        x = x + y & mask
        rotation = rotations[turn % 8]
        y = (y << rotation | y >> 32 - rotation) & mask
        y ^= x
        if turn % 4 == 3:
            number = turn // 4 + 1
            x, y = x + keys[number % 3] & mask, y + keys[(number + 1) % 3] + number & mask
    return (x, y)[index % 2] / 2**32


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_known_answers_of_threefry(key, counter, answer):
    encrypted = threefry(key, *(np.array([word], np.uint32) for word in counter))
    assert tuple(int(words[0]) for words in encrypted) == answer


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32 + 7, MAX_SEED])
@pytest.mark.parametrize("purpose", [HITS, EXPRESSION, RESAMPLING, VARIATION])
def test_numbers_are_those_of_the_counter_in_the_documents(seed, purpose):
    stream = RandomStream(seed, purpose, 3, 5)
    for step in (0, 1, 1000, 2**31):
        wanted = [[reference(seed, purpose, row, step, index) for index in range(5)] for row in range(3)]
        assert stream.at(step).tolist() == wanted


def test_numbers_do_not_depend_on_the_rows_and_numbers_beside_them():
    """On more rows or numbers, on the order of the steps, and on where blocks of them begin."""
    few, many = RandomStream(5, HITS, 2, 3), RandomStream(5, HITS, 700, 11)
    steps = [0, 1, BLOCK, BLOCK - 1, 3 * BLOCK + 1, 2, *range(BLOCK // 4 - 2, BLOCK // 4 + 2), 0]
    kept = {step: few.at(step).copy() for step in steps}
    for step in steps:
        assert np.array_equal(many.at(step)[:2, :3], kept[step])
        assert np.array_equal(RandomStream(5, HITS, 2, 3).at(step), kept[step]) and np.array_equal(
            few.at(step), kept[step]
        )


def test_numbers_of_a_row_go_on_at_the_next_step():
    wanted = np.concatenate([RandomStream(9, VARIATION, 3, MAX_NUMBERS).at(step)[0] for step in range(2)])
    assert np.array_equal(uniforms(9, VARIATION, MAX_NUMBERS + 40), wanted[: MAX_NUMBERS + 40])
    assert len(uniforms(9, VARIATION, 0)) == 0


def test_numbers_are_uniform():
    drawn = RandomStream(3, HITS, 100, 11).at(0).ravel()
    drawn = np.concatenate([drawn, *(RandomStream(3, HITS, 100, 11).at(step).ravel() for step in range(1, 60))])
    assert drawn.min() >= 0 and drawn.max() < 1
    counts, expected = np.histogram(drawn, 64, (0, 1))[0], len(drawn) / 64
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 63) < 4 * math.sqrt(2 * 63)


def spread(**varied):
    """4,000 numbers of each of many streams, of which one thing differs: rows, purposes, steps, indices or seeds."""
    fixed = {"seed": 7, "purpose": HITS, "row": 0, "step": 0, "index": 0}
    (name, values), length = next(iter(varied.items())), 4000
    if name in ("row", "index"):
        rows = RandomStream(7, HITS, 12, 12)
        every = np.stack([rows.at(step) for step in range(length)])
        return every[:, list(values), 0].T if name == "row" else every[:, 0, list(values)].T
    numbers = []
    for value in values:
        key = fixed | {name: value}
        stream = RandomStream(key["seed"], key["purpose"], 1, 1)
        numbers.append([stream.at(key["step"] + step)[0, 0] for step in range(length)])
    return np.array(numbers)


@pytest.mark.parametrize(
    "varied",
    [
        {"row": range(12)},
        {"index": range(12)},
        {"purpose": (HITS, EXPRESSION, RESAMPLING, VARIATION)},
        {"seed": (0, 1, 2, 2**32, 2**32 + 1, MAX_SEED)},
        {"step": (0, 1, 2, 16)},  # the same row of numbers, some steps later
    ],
    ids=lambda varied: next(iter(varied)),
)
def test_streams_are_independent(varied):
    drawn = spread(**varied)
    count, length = drawn.shape
    correlations = np.corrcoef(drawn)[~np.eye(count, dtype=bool)]
    assert np.abs(correlations).max() < 5 / math.sqrt(length)
    bins = (drawn * 8).astype(int)
    for one in range(count - 1):  # pairs of numbers fill 8 by 8 cells evenly
        counts, expected = np.bincount(bins[one] * 8 + bins[one + 1], minlength=64), length / 64
        assert abs(((counts - expected) ** 2 / expected).sum() - 63) < 5 * math.sqrt(2 * 63)


def test_successive_steps_are_independent():
    drawn = spread(row=range(12)).ravel()
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / math.sqrt(len(drawn))


def test_a_generator_of_a_step_is_its_own():
    first, again, later, other = (
        generator(*key).random(5).tolist() for key in ((1, 4, 0), (1, 4, 0), (1, 4, 1), (2, 4, 0))
    )
    assert first == again and first != later and first != other


def test_a_seed_is_chosen_where_none_is_given():
    assert choose_seed(5) == 5 and choose_seed(np.int64(6)) == 6
    chosen = {choose_seed(None) for _ in range(20)}
    assert len(chosen) == 20 and all(0 <= seed <= MAX_SEED for seed in chosen)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 0.5, "1", True])
def test_what_is_no_seed_is_refused_in_one_line(seed):
    for call in (lambda: choose_seed(seed), lambda: RandomStream(seed, HITS, 1, 1)):
        with pytest.raises(HypermeterError, match="seed is "):
            call()


@pytest.mark.parametrize(("rows", "numbers"), [(0, 1), (1, 0), (MAX_ROWS + 1, 1), (1, MAX_NUMBERS + 1)])
def test_too_many_rows_or_numbers_are_refused_in_one_line(rows, numbers):
    with pytest.raises(HypermeterError, match=f"{rows} rows of {numbers} numbers, expected 1 to {MAX_ROWS}"):
        RandomStream(1, HITS, rows, numbers)


def test_the_last_row_and_number_have_counters_of_their_own():
    stream = RandomStream(2, VARIATION, MAX_ROWS, 2)
    assert stream.at(3)[-1].tolist() == [reference(2, VARIATION, MAX_ROWS - 1, 3, index) for index in range(2)]
    assert uniforms(2, VARIATION, MAX_NUMBERS)[-1] == reference(2, VARIATION, 0, 0, MAX_NUMBERS - 1)
