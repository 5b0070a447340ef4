PYTHON ?= python3
BIN := .venv/bin
export HYPERMETER_GROOVE ?= ../shared/data/groove
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-player browser check docs page bench clean

demo: .venv/stamp
	$(BIN)/hypermeter demo

test: .venv/stamp browser
	$(BIN)/pytest -n 2 -m "not gpu" --ignore tests/player

# What plays needs no PyTorch: the commands of a user, in an environment of the package without its extras for learning.
test-player: .venv-player/stamp
	.venv-player/bin/pytest -q --confcutdir tests/player tests/player
	@du -sm .venv-player/lib/python*/site-packages

# The page is tested in Chromium; where it cannot be installed, those tests skip.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
		|| echo "no chromium: the page is not tested; install it, as apt-get install chromium"

check: .venv/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo --no-cache

docs: .venv/stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

page: .venv/stamp
	$(BIN)/pip install --quiet -c constraints.txt -e ".[onnx]"
	$(BIN)/hypermeter export web/export
	$(BIN)/python web/scripts/bounds.py
	cd web && npm ci && npm test && npm run build && node scripts/pack.mjs export

bench: .venv/stamp
	$(BIN)/hypermeter prepare $(HYPERMETER_GROOVE) bench/out/npz
	$(BIN)/hypermeter evaluate groove bench/out/npz/validation --out bench/out/groove
	$(BIN)/python benchmarks/speed/run.py --npz-dir bench/out/npz/train --plot bench/out/cost_per_step.png
	$(BIN)/python benchmarks/speed/metrics.py

clean:
	rm -rf .venv .venv-player .pytest_cache .ruff_cache .hypothesis bench/out demo

.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

.venv-player/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-player
	.venv-player/bin/pip install --quiet -c constraints.txt -e ".[serve]" pytest
	touch $@
