"""Performances from .npz, in windows and batches."""

from hypermeter.core.extras import needs
from hypermeter.io.npz import (
    kit_name,
    open_npz,
    read_kit_and_grid,
    read_meta,
    read_sequence,
    read_shared_kit_and_grid,
)
from hypermeter.io.performances import read_folder

with needs("hypermeter.learn.dataset", of_torch="torch"):
    from hypermeter.learn.dataset.conditions import find_labels, read_expression, read_plan, with_tracks
    from hypermeter.learn.dataset.corpus import CACHE_BYTES, HELD_BYTES, Corpus, shared_kit_and_grid
    from hypermeter.learn.dataset.loader import EpochOrder, batches, get_complete_rl_dataloader, load_ahead
    from hypermeter.learn.dataset.metres import MIX_POWER, mixed_batches, shares_of
    from hypermeter.learn.dataset.windows import (
        DROP_OUT,
        CompleteHierarchicalDrumDataset,
        Performance,
        WindowMetrics,
        collate,
    )
