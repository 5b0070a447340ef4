#!/usr/bin/env bash
# tyro 1.0.17 imports PyTorch where `sys.modules["torch"]` is None, which is Python's own way to forbid an import.
#
# Guess before: a program that forbids an optional package by `sys.modules["torch"] = None`, to show that it does without,
# can use tyro, which does not need PyTorch.
# Seen: tyro looks whether "torch" stands in sys.modules, and then imports it to support its types: `tyro.cli` ends in
# `ModuleNotFoundError: import of torch halted; None in sys.modules`. Where nothing stands there, the same call works.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tyro==1.0.17
cat >"$folder/program.py" <<'PYTHON'
import sys

if sys.argv.pop(1) == "forbidden":
    sys.modules["torch"] = None
import tyro


def main(number: int = 1) -> None:
    print("number", number)


tyro.cli(main)
PYTHON
"$folder/env/bin/python" "$folder/program.py" free --number 2 | tee "$folder/free"
grep -qx "number 2" "$folder/free"
if "$folder/env/bin/python" "$folder/program.py" forbidden --number 2 2>"$folder/forbidden"; then
    echo "changed: tyro no longer imports a forbidden module"
    exit 1
fi
tail -n 1 "$folder/forbidden"
grep -q "import of torch halted; None in sys.modules" "$folder/forbidden"
