"""The model in PyTorch: encoders, heads, levels, losses."""

from hypermeter.model.hierarchical import HierarchicalDrumModel, kit_of, load
from hypermeter.model.state import Prediction, State
