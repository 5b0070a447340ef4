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


def check_seed(seed: int | None) -> None:
    """Refuses what no generator takes; None draws a seed."""
    if seed is not None and not 0 <= seed < 2**63:
        raise HypermeterError(f"seed is {seed}, expected 0 to 2**63 - 1")
