"""The model in PyTorch: encoders, heads, levels, losses."""

from hypermeter.core.extras import needs

with needs("hypermeter.model", of_torch="torch"):
    from hypermeter.core.parts import Parts
    from hypermeter.model.hierarchical import HierarchicalDrumModel, load
    from hypermeter.model.state import Prediction, State
    from hypermeter.play.loading import kit_of
