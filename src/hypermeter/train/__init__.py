"""Training: a Lightning module, and one loop around it (Lightning Fabric) that resumes exactly where it stopped.

The order of the data is a function of the seed and the update's number, so that nothing but the state of the model,
the optimiser and the random generators has to be kept.
"""

from hypermeter.train.command import from_midi, train_command
from hypermeter.train.config import SHAPE_FIELDS, TrainConfig
from hypermeter.train.log import plot_curves, write_log
from hypermeter.train.material import batches
from hypermeter.train.module import DrumModule
from hypermeter.train.resume import CHECKPOINT
from hypermeter.train.run import FILES, LOG_EVERY, train
