"""A folder, zip or file of MIDI -> a folder of .npz and manifest.json. Nothing here is opened again by the loader."""

from hypermeter.learn.download import download
from hypermeter.learn.prepare.command import prepare
from hypermeter.learn.prepare.source import SPLITS
