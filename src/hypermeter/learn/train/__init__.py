"""Training: a Lightning module, and a loop (Lightning Fabric) that continues exactly where it stopped.

The order of the data is a function of the seed and the update's number, so that the state of a run is that of the
model, the optimizer and the random generators.
"""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.learn.train.command import train_command
    from hypermeter.learn.train.config import SHAPE_FIELDS, TrainConfig
    from hypermeter.learn.train.log import plot_curves, write_log
    from hypermeter.learn.train.material import batches
    from hypermeter.learn.train.midi import from_midi
    from hypermeter.learn.train.module import DrumModule
    from hypermeter.learn.train.resume import CHECKPOINT
    from hypermeter.learn.train.run import FILES, LOG_EVERY, train
else:
    offer(__name__)
