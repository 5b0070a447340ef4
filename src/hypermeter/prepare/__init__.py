"""A folder, zip or file of MIDI -> a folder of .npz and manifest.json. Nothing here is opened again by the loader."""

from hypermeter.download import download
from hypermeter.prepare.command import prepare
from hypermeter.prepare.source import SPLITS
