# Everything needs git, make and Python 3.11 or newer; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/
QUIET_TORCH = OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-all test-faults fuzz check format bench bench-fisher bench-penalty bench-lambda bench-headline bench-gate bench-month bench-ingest bench-years docs clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Launch and retrain three months on a synthetic help desk, plain beside the default (minutes).
	@$(QUIET_TORCH) $(RUN)retrain demo demo-workspace

test: $(VENV)/.dev ## Run all tests but the slow ones.
	$(QUIET_TORCH) $(RUN)pytest -m "not slow"

test-all: $(VENV)/.dev ## Run all tests.
	$(QUIET_TORCH) $(RUN)pytest

test-faults: $(VENV)/.dev ## Run the fault injection in full: every kill, refusal, bit and race (an hour or more).
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y --no-install-recommends libfaketime; } || \
		echo "make: libfaketime is not installed (apt-get install libfaketime): the tests that fake a process's clock are skipped" >&2
	$(QUIET_TORCH) $(RUN)pytest -rs --durations=0 tests/faults tests/modeling/test_resume.py tests/store

fuzz: $(VENV)/.dev ## Read a million mutated lines of every format: no traceback, no row lost.
	FUZZ_LINES=1000000 $(QUIET_TORCH) $(RUN)pytest tests/sources/test_fuzz.py

check: $(VENV)/.dev ## Lint, formatting and types: what pre-commit runs.
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

format: $(VENV)/.dev ## Format the code and mend what the linter can.
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

bench: $(VENV)/.dev ## Time how fast the command line starts.
	$(RUN)python benchmarks/startup.py

bench-fisher: $(VENV)/.bench ## Time the Fisher engine beside the naive ways.
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(RUN)python benchmarks/fisher.py

bench-penalty: $(VENV)/.dev ## Time the penalty's step beside an optimizer step.
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(RUN)python benchmarks/penalty.py

bench-lambda: $(VENV)/.dev ## Search for lambda beside a full sweep of its grid (half an hour).
	$(QUIET_TORCH) $(RUN)python benchmarks/lambda_search.py

bench-headline: $(VENV)/.dev ## Backtest every arm over the monthly streams (hours; PROCESSES=2: side by side; SMALL=1: minutes).
	$(QUIET_TORCH) $(RUN)python benchmarks/headline.py $(if $(SMALL),--small) $(if $(PROCESSES),--processes $(PROCESSES))

bench-gate: $(VENV)/.dev ## Simulate how often the gate errs (minutes).
	$(QUIET_TORCH) $(RUN)python benchmarks/gate.py

bench-month: $(VENV)/.dev ## Time a month of the default beside a month of plain fine-tuning (a quarter of an hour).
	$(QUIET_TORCH) $(RUN)python benchmarks/month_cost.py

bench-ingest: $(VENV)/.dev ## Time ingest on a million damaged rows beside plain scripts (minutes).
	$(QUIET_TORCH) $(RUN)python benchmarks/ingest.py

bench-years: $(VENV)/.dev ## Run the monthly job over a year, as cron runs it, beside other arms (an hour; resumable).
	$(QUIET_TORCH) $(RUN)python benchmarks/years.py

docs: $(VENV)/.dev ## Draw the pictures of the documentation again.
	$(QUIET_TORCH) $(RUN)python docs/draw.py

clean: ## Remove the virtual environment and the caches; demo-workspace is yours and stays.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp says that its extra is installed as pyproject.toml and constraints.txt ask for.
$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/.made
	$(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

# BackPACK asks for torchvision and never imports it here: the extra alone, without what it asks for.
$(VENV)/.bench: $(VENV)/.dev
	$(RUN)python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"], sep="\n")' > $@.txt
	$(RUN)python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt -r $@.txt
	@mv $@.txt $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version). Run: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
