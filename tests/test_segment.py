"""Sections found from how alike phrases are."""

import pytest
import torch

from hypermeter.core.grid import Grid
from hypermeter.music.segment import MIN_PHRASES, phrase_likeness, segment

GRID = Grid(2, 2, 2)  # phrases of 8 steps


def part(seed):
    return torch.rand(8, 6, generator=torch.Generator().manual_seed(seed)) < 0.25


A, B, C = part(0), part(1), part(2)


def numbers(*parts):
    return segment(torch.cat(parts), GRID)[:: GRID.bars_per_phrase].tolist()


def test_parts_are_numbered_in_the_order_in_which_they_come_and_keep_their_number():
    assert numbers(B, B, A, C, B, A) == [1, 1, 2, 3, 1, 2]


def test_every_bar_has_the_section_of_its_phrase():
    assert segment(torch.cat([A, A, B, B, A[:5]]), GRID).tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1]


def test_a_phrase_that_is_nearly_another_is_of_its_section():
    near = A.clone()
    near[0, 0] ^= True
    assert numbers(A, B, near, B) == [1, 2, 1, 2]


def test_a_piece_of_few_phrases_has_no_sections():
    assert not segment(torch.cat([A] * (MIN_PHRASES - 1)), GRID).any()
    assert segment(torch.cat([A] * MIN_PHRASES), GRID).tolist() == [1] * 2 * MIN_PHRASES


def test_there_are_no_more_sections_than_the_limit():
    parts = torch.cat([part(seed) for seed in range(12)])
    assert segment(parts, GRID, most=3).max() == 3


def test_silence_is_a_section():
    assert numbers(A, A * False, A, A * False) == [1, 2, 1, 2]


def test_likeness_is_what_mean_bars_share_over_what_either_has():
    likeness = phrase_likeness(torch.cat([A, B]), GRID)
    one, other = (phrase.float().unflatten(0, (2, 4)).mean(0) for phrase in (A, B))
    expected = torch.minimum(one, other).sum() / torch.maximum(one, other).sum()
    assert likeness[0, 1].item() == pytest.approx(expected.item())
    assert likeness.diagonal().tolist() == pytest.approx([1, 1])
