"""Write the bounds and defaults of what can be asked where the page reads them: python web/scripts/bounds.py"""

import json
from pathlib import Path

from hypermeter.play.request import bounds_record

if __name__ == "__main__":
    text = json.dumps(bounds_record(), indent=2)
    (Path(__file__).parents[1] / "src" / "bounds.json").write_text(f"{text}\n")
