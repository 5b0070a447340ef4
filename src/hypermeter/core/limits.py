"""Bounds of the options of generation."""

from hypermeter.core.errors import HypermeterError

MIN_TEMPERATURE = 1e-6
"""A lower temperature counts as 0: the most probable outcome is chosen."""

MAX_BIAS = 100
"""Of a voice, in log odds."""

MAX_GUIDANCE = 100

MAX_ENUMERATED_VOICES = 12
"""With more voices than these, combinations of hits are sampled, not enumerated."""


MAX_SEED = 2**53 - 1
"""The largest whole number that JavaScript represents exactly, so that the page takes every seed."""


def check_seed(seed: int | None) -> None:
    """Raise `HypermeterError` if `seed` is not a whole number in [0, 2**53); `None`, which chooses one, passes."""
    if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed <= MAX_SEED):
        raise HypermeterError(f"seed is {seed}, expected a whole number from 0 to 2**53 - 1")
