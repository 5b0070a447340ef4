"""Learning: preparing, data sets, training, evaluation, reinforcement learning."""
