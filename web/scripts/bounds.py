"""Write what the page takes from Python where it reads it: python web/scripts/bounds.py

`bounds.json` has the bounds and defaults of what can be asked, `maps.json` the instruments and maps of pitches.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypermeter.core.pitch_map import MAPS, instruments, load_map
from hypermeter.play.request import bounds_record

SOURCES = Path(__file__).parents[1] / "src"


def maps_record() -> dict[str, Any]:
    """Return the instruments, and of each map its title, hints, and the instrument of each pitch, in order."""
    maps = {name: load_map(name) for name in MAPS}
    return {
        "instruments": {name: asdict(instrument) for name, instrument in instruments().items()},
        "maps": [
            {"name": name, "title": entry.title, "hints": entry.hints, "pitches": list(entry.instruments.items())}
            for name, entry in maps.items()
        ],
    }


def write(name: str, text: str) -> None:
    (SOURCES / name).write_text(f"{text}\n")


if __name__ == "__main__":
    write("bounds.json", json.dumps(bounds_record(), indent=2))
    write("maps.json", json.dumps(maps_record(), separators=(",", ":")))
