# make book, make test, make bench, make parity: each does everything on a fresh machine with Python 3.11 or 3.12.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2> /dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 0
PAPERS ?=
PROFILE ?= tutorial
READY := $(VENV)/.ready

export OMP_NUM_THREADS ?= 1

.PHONY: all book test test-cluster lint parity bench run clean upgrade install

all: book

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[book,test]'
	touch $(READY)

# Only these papers: make book PAPERS="dnf balpoe" PROFILE=smoke; RETRAIN=1 runs the arms again; API=1 adds the reference.
book: $(READY)
	$(BIN)/vislab book $(PAPERS) --profile $(PROFILE) --jobs $(JOBS) $(if $(RETRAIN),--retrain) $(if $(API),--api) $(if $(SERVE),--serve)

test: $(READY) lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --ignore tests/cluster $(ARGS)

# A real cluster of two nodes on this machine; installs the extra ray.
test-cluster: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest tests/cluster --timeout 110 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

parity: $(READY)
	$(BIN)/python -m pytest -n 2 tests/parity $(ARGS)

bench: $(READY)
	for script in cli_startup worlds batch compare chapters; do $(BIN)/python benchmarks/$$script.py || exit 1; done

# Renew every pinned version, in a commit of its own.
upgrade:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[book,test,raw,lpips,ray]'
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^vislab' > constraints.txt

clean:
	rm -rf _build
