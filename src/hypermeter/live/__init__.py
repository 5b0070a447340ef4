"""Playing live: a model that runs in time, at a MIDI port, led while it plays."""

from hypermeter.live.asking import Asking, Settings
from hypermeter.live.clock import RealClock, SimulatedClock
from hypermeter.live.drawing import Drawer, Moment, Part
from hypermeter.live.engine import Engine
from hypermeter.live.measure import Timing
from hypermeter.live.position import FollowedTempo, OwnTempo
