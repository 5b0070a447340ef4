#!/usr/bin/env bash
# tyro 1.0.17 imports typeguard, unittest.mock and asyncio for an option of type `int | None`, not for `Optional[int]`.
#
# Guess before: the two spellings are one type, as typing.get_type_hints and most libraries treat them, so a command
# starts equally fast with either.
# Seen: tyro compares each default with its type. Its quick way knows typing.Union, but up to Python 3.13 `int | None` is
# a types.UnionType, which takes the way through typeguard; that imports unittest.mock, and that imports asyncio. One
# option of this spelling adds these modules to every start of the program, `--help` included.
# Fails if that changes.
set -euo pipefail
python3 -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || {
    echo "needs Python 3.10 to 3.13: from 3.14 on, Python itself makes both spellings one type"
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tyro==1.0.17
cat >"$folder/program.py" <<'PYTHON'
import sys
from typing import Optional

import tyro


def optional(bars: Optional[int] = None) -> None:
    pass


def union(bars: int | None = None) -> None:
    pass


name = sys.argv[1]
tyro.cli({"optional": optional, "union": union}[name], args=["--bars", "3"])
print(name, *(module for module in ("typeguard", "unittest.mock", "asyncio") if module in sys.modules))
PYTHON
for name in optional union; do
    "$folder/env/bin/python" "$folder/program.py" "$name" | tee "$folder/$name"
done
grep -qx "optional" "$folder/optional"
grep -qx "union typeguard unittest.mock asyncio" "$folder/union"
