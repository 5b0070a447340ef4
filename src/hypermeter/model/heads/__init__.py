"""Output distributions of one step: what the voices play together, given the model's features.

Each head maps features to a distribution with ``log_prob``, ``probs`` (exact marginals) and ``sample``; the rules by
which music is drawn from one (temperature, locks and the like) are those of `play`. The mixture is
p(x) = sum_k pi_k prod_v Bernoulli(x_v; p_kv); with one component it is independent sigmoids.

Beside the voices there may be tracks: groups of columns of which at most one is 1. Where a voice has a Bernoulli, a
track has a categorical over "none" and its columns, in each component, so that they agree through the components.
"""

from hypermeter.model.heads.combinations import codes, combinations, find_known, known_combinations
from hypermeter.model.heads.mixture import REPEAT, Groups, Mixture, MixtureHead, choose, draw_hits, log_norm
from hypermeter.model.heads.softmax import SoftmaxHead, SoftmaxWithEscape

StepDistribution = Mixture | SoftmaxWithEscape
