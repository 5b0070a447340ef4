"""Rewards made of the rhythm metrics."""

from hypermeter.rl.rewards import Reward, RunningScale, Term, load_reward, style_terms
