"""A drum model that plays without PyTorch, on ONNX Runtime alone: what ``hypermeter export`` wrote, read and played."""

from hypermeter.plan_arrays import PlanArrays, make_plan_arrays
from hypermeter.runtime.expression import Expressing
from hypermeter.runtime.folder import Folder
from hypermeter.runtime.infill import Infilled
from hypermeter.runtime.plan import measured_plan
from hypermeter.runtime.player import OnnxPlayer
from hypermeter.runtime.playing import Playing
from hypermeter.runtime.rng import Streams
