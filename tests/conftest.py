"""Checks the shapes in annotations while the tests run, in the files that compute with tensors.

One thread for each process: the tensors are small, and where processes share the cores, more make it many times slower.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

CHECKED = (
    "music.metrics", "music.segment", "model", "learn.dataset",
    "learn.rl.rollout", "learn.rl.divergence", "learn.rl.policy_gradient",
)  # fmt: skip

install_import_hook([f"hypermeter.{module}" for module in CHECKED], "beartype.beartype")

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
