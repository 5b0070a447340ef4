"""The clocks by which the page is held to the rules of Python are still what Python makes of them."""

import json
import runpy

from browsing import ROOT

PLACE = ROOT / "web" / "test" / "following.py"


def test_the_recorded_clocks_are_what_python_makes_of_them():
    recorded = json.loads(PLACE.with_suffix(".json").read_text())
    made = json.loads(json.dumps(runpy.run_path(str(PLACE))["record"]()))
    assert [clock["name"] for clock in recorded] == [clock["name"] for clock in made]
    for one, other in zip(recorded, made, strict=True):
        assert one == other, f"{one['name']}: python web/test/following.py, and see web/src/live/following.ts"
