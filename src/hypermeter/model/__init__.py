"""The model in PyTorch: encoders, heads, levels, losses."""

from hypermeter.core.extras import needs

with needs("hypermeter.model", of_torch="torch"):
    from hypermeter.model.hierarchical import HierarchicalDrumModel, kit_of, load
    from hypermeter.model.levels import Parts
    from hypermeter.model.state import Prediction, State
