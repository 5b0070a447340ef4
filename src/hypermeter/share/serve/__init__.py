"""A server on one's own machine: the page, and a JSON API over HTTP."""

from hypermeter.share.serve.app import make_app
from hypermeter.share.serve.limits import Limits
