"""A folder, zip or file of MIDI -> a folder of .npz and manifest.json. The loader reads only these."""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.learn.download import download
    from hypermeter.learn.prepare.command import prepare
    from hypermeter.learn.prepare.source import SPLITS
else:
    offer(__name__)
