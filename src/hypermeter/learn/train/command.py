"""The ``train`` command, which takes MIDI too."""

from hypermeter.learn.train.config import TrainConfig


def train_command(config: TrainConfig) -> None:
    """Train a model on a prepared folder, or on MIDI; the same command continues an interrupted run.

    Under torchrun, or with --devices, several processes share each batch.
    """
    from hypermeter.learn.train.midi import from_midi
    from hypermeter.learn.train.run import train

    train(from_midi(config))
