#!/usr/bin/env bash
# import-linter 2.17 reports a broken contract as kept if the module that breaks it is in a folder without __init__.py.
#
# Guess before: a module that Python imports from a folder without __init__.py inside a package is checked like any other,
# or a warning says that it is not.
# Seen: `tiny.low.plain.module` imports `tiny.high`, which the contract forbids. Python imports it, but import-linter
# analyses three files, finds no import, prints KEPT and ends with exit code 0. With an empty __init__.py in the folder it
# prints the import and ends with exit code 1.
# Fails if either changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet import-linter==2.17 grimp==3.20
mkdir -p tiny/high tiny/low/plain
touch tiny/__init__.py tiny/high/__init__.py tiny/low/__init__.py
echo "from tiny import high" >tiny/low/plain/module.py
cat >pyproject.toml <<'TOML'
[tool.importlinter]
root_package = "tiny"

[[tool.importlinter.contracts]]
name = "low does not import high"
type = "layers"
containers = ["tiny"]
layers = ["high", "low"]
TOML
export PYTHONPATH=.
env/bin/python -c "import tiny.low.plain.module; print('Python imports', tiny.low.plain.module.__name__)"
echo "without __init__.py:"
env/bin/lint-imports --no-logo --no-cache | tee without | grep -E "Analyzed|KEPT|BROKEN"
touch tiny/low/plain/__init__.py
echo "with __init__.py:"
if env/bin/lint-imports --no-logo --no-cache >with; then
    echo "changed: the contract is kept with __init__.py too"
    exit 1
fi
grep -E "Analyzed|KEPT|BROKEN" with
grep -q "Analyzed 3 files, 0 dependencies" without
grep -q "low does not import high KEPT" without
grep -q "tiny.low.plain.module -> tiny.high" with
