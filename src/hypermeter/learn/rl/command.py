"""The ``reinforce`` command."""

from hypermeter.learn.rl.config import ReinforceConfig


def reinforce_command(config: ReinforceConfig) -> None:
    """Fine-tune a model towards a reward of rhythm metrics; the same command continues an interrupted run."""
    from hypermeter.learn.rl.reinforce import reinforce

    reinforce(config)
