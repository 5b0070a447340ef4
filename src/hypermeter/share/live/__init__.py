"""Live play: a model at a MIDI port, in time, with settings that change while it plays."""

from hypermeter.share.live.clock import RealClock, SimulatedClock
from hypermeter.share.live.conditions import LiveConditions, LiveSettings
from hypermeter.share.live.engine import Engine
from hypermeter.share.live.measure import Timing
from hypermeter.share.live.position import FollowedTempo, OwnTempo
from hypermeter.share.live.sampler import Sampler, SamplerState
