"""A drum model that plays without PyTorch, on ONNX Runtime alone: what ``hypermeter export`` wrote, read and played."""

from hypermeter.play.plan import PlanArrays, make_plan_arrays
from hypermeter.play.runtime.expression import Expressing
from hypermeter.play.runtime.folder import Folder
from hypermeter.play.runtime.infill import Infilled
from hypermeter.play.runtime.plan import measured_plan
from hypermeter.play.runtime.player import OnnxPlayer
from hypermeter.play.runtime.playing import Playing
from hypermeter.play.runtime.rng import Streams
