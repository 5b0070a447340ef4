"""What generation takes, with PyTorch and without."""

LEAST_TEMPERATURE = 1e-6
"""Below it, a temperature is 0: the likeliest is taken."""

MOST_TEMPERATURE = 1e6
"""Of velocity and timing: at it any component is as likely as another, and a hit as far out as it can be."""

MOST_BIAS = 100
"""Of a voice, in log odds: what is likelier than this is certain."""

MOST_GUIDANCE = 100

MOST_ENUMERATED_VOICES = 12
"""Of more voices, combinations are drawn, not listed."""
