"""A server on one's own machine: the page, and a JSON API over HTTP."""

from hypermeter.serve.app import make_app
from hypermeter.serve.limits import Limits
