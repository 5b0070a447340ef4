#!/usr/bin/env bash
# mutmut 3.8.1 makes no mutants of functions with a decorator other than staticmethod and classmethod, and its results do
# not show it.
#
# Guess before: a cached function or a property is mutated like any other; if no test calls it, its mutants are listed as
# survivors or as "no tests".
# Seen: with `functools.cache` and `property` there are no mutants at all. The package below has three functions, of which
# the tests call one; the results name mutants of that one alone, all of them killed: a perfect score.
# Fails if mutants of the other two appear.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet mutmut==3.8.1 pytest
mkdir -p src/tiny tests
cat >pyproject.toml <<'TOML'
[tool.mutmut]
source_paths = ["src/"]
TOML
cat >src/tiny/__init__.py <<'PYTHON'
import functools


def plain(x):
    return x + 1


@functools.cache
def cached(x):
    return x + 2


class Box:
    @property
    def double(self):
        return 2 + 2
PYTHON
cat >tests/test_tiny.py <<'PYTHON'
from tiny import plain


def test_plain():
    assert plain(1) == 2
PYTHON
PYTHONPATH=src env/bin/mutmut run >log 2>&1 || { tail -n 20 log; exit 1; }
env/bin/mutmut results --all true | tee seen
test "$(grep -c killed seen)" -eq 2
test "$(grep -c 'x_plain__mutmut_' seen)" -eq 2
test "$(grep -c mutmut seen)" -eq 2
