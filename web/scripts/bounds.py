"""Write what the page takes from Python where it reads it: python web/scripts/bounds.py

`bounds.json` has the bounds and defaults of what can be asked, `instruments.json` the instrument of each pitch of
General MIDI.
"""

import json
from pathlib import Path

from hypermeter.core.pitch_map import load_map
from hypermeter.play.request import bounds_record

SOURCES = Path(__file__).parents[1] / "src"


def instruments_record() -> dict[str, str]:
    """Return the instrument of each pitch of General MIDI: pitch -> name."""
    return {str(pitch): name.replace("_", " ") for pitch, name in sorted(load_map("gm").instruments.items())}


if __name__ == "__main__":
    for name, record in (("bounds", bounds_record()), ("instruments", instruments_record())):
        (SOURCES / f"{name}.json").write_text(f"{json.dumps(record, indent=2)}\n")
