"""The ``reinforce`` command."""

from hypermeter.learn.rl.config import ReinforceConfig


def reinforce_command(config: ReinforceConfig) -> None:
    """Fine-tune a model towards a reward of rhythm metrics, near to what it was; the same command goes on."""
    from hypermeter.learn.rl.reinforce import reinforce

    reinforce(config)
