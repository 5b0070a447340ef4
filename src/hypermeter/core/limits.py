"""Bounds of what generation takes."""

from hypermeter.core.errors import HypermeterError

LEAST_TEMPERATURE = 1e-6
"""Below it, a temperature is 0: the likeliest is taken."""

MOST_TEMPERATURE = 1e6
"""Of velocity and timing: at it any component is as likely as another, and a hit as far out as it can be."""

MOST_BIAS = 100
"""Of a voice, in log odds: what is likelier than this is certain."""

MOST_GUIDANCE = 100

MOST_ENUMERATED_VOICES = 12
"""Of more voices, combinations are drawn, not listed."""


MOST_SEED = 2**53 - 1
"""What a number in JavaScript holds, so that the page takes every seed."""


def check_seed(seed: int | None) -> None:
    """Raise `HypermeterError` if `seed` is not a whole number in [0, 2**53); `None`, which chooses one, passes."""
    if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed <= MOST_SEED):
        raise HypermeterError(f"seed is {seed}, expected a whole number from 0 to 2**53 - 1")
