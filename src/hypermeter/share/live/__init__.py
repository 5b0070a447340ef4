"""Playing live: a model that runs in time, at a MIDI port, led while it plays."""

from hypermeter.share.live.asking import Asking, Settings
from hypermeter.share.live.clock import RealClock, SimulatedClock
from hypermeter.share.live.engine import Engine
from hypermeter.share.live.measure import Timing
from hypermeter.share.live.position import FollowedTempo, OwnTempo
from hypermeter.share.live.sampler import Drawer, Point
