"""A local server: the page, and a JSON API over HTTP."""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.share.serve.app import make_app
    from hypermeter.share.serve.limits import Limits

offer(__name__)
