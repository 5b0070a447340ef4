"""Write public/notes.woff2: the signs of drum notation from Bravura, which the package vexflow contains.

    pip install fonttools brotli && python scripts/notes.py

Bravura is under the SIL Open Font License 1.1 (public/notes.txt), whose reserved name a part of it may not bear.
"""

import base64
import re
from io import BytesIO
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

WEB = Path(__file__).parent.parent
NAME = "Hypermeter Notes"
SIGNS = [
    0xE069,  # the clef of percussion
    *range(0xE080, 0xE08A),  # numbers of time signatures
    *range(0xE0A2, 0xE0AA),  # heads, full, half and whole, and crosses
    0xE0B3,  # a cross in a circle
    0xE0F5,
    0xE0F6,  # parentheses
    0xE1E7,  # the dot
    *range(0xE240, 0xE248),  # flags
    0xE4A0,
    0xE4A1,  # accents
    *range(0xE4E3, 0xE4EA),  # rests
    *range(0xE880, 0xE88B),  # numbers of tuplets, and their colon
]

source = (WEB / "node_modules/vexflow/build/esm/src/fonts/bravura.js").read_text()
coded = re.search(r"base64,([A-Za-z0-9+/=]+)", source)
font = TTFont(BytesIO(base64.b64decode(coded[1])))
options = Options(flavor="woff2", layout_features=[], notdef_outline=True, name_IDs=[0, 1, 2, 4, 6, 13, 14])
subsetter = Subsetter(options)
subsetter.populate(unicodes=SIGNS)
subsetter.subset(font)
for record in list(font["name"].names):
    if record.nameID in (1, 4):
        record.string = NAME
    elif record.nameID == 6:
        record.string = NAME.replace(" ", "")
if "CFF " in font:
    font["CFF "].cff.fontNames = [NAME.replace(" ", "")]
    top = font["CFF "].cff.topDictIndex[0]
    top.FullName = top.FamilyName = NAME
font["head"].modified = font["head"].created  # the same bytes each time
font.recalcTimestamp = False
font.flavor = "woff2"
font.save(WEB / "public/notes.woff2")
