"""Output distributions of one step: what the voices play together, given the model's features.

Each head maps features to a distribution with ``log_prob``, ``probs`` (exact marginals), ``sample`` and ``draw`` (by
random numbers that are given); temperature, locks and the like are in `play`. The mixture is
p(x) = sum_k pi_k prod_v Bernoulli(x_v; p_kv); with one component it is independent sigmoids. Tracks are groups of
columns of which at most one is 1; in each component, a track has a categorical over "none" and its columns.
"""

from hypermeter.model.heads.combinations import codes, combinations, find_known, known_combinations
from hypermeter.model.heads.mixture import REPEAT, Groups, Mixture, MixtureHead, index_of, log_norm, uniforms_of
from hypermeter.model.heads.softmax import SoftmaxHead, SoftmaxWithEscape

StepDistribution = Mixture | SoftmaxWithEscape
