# Two commands matter: `make demo` and `make test`. Everything is set up from the hash-pinned lock in requirements/.
PYTHON ?= python3
UV := .boot/bin/uv
VENV := .venv
RUN := $(VENV)/bin/python -P -m

.PHONY: demo test check bench screens lock messages clean

demo: $(VENV)/.ready
	@$(VENV)/bin/dauso demo --home .demo

test: $(VENV)/.ready
	$(RUN) pytest -q -n 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry .

bench: $(VENV)/.ready
	@PYTHONPATH=. $(RUN) bench.bench_sign
	@PYTHONPATH=. $(RUN) bench.bench_large
	@PYTHONPATH=. $(RUN) bench.bench_copy 2>/dev/null
	@PYTHONPATH=. $(RUN) bench.bench_doors 2>/dev/null
	@PYTHONPATH=. $(RUN) bench.bench_requests 2>/dev/null
	@PYTHONPATH=. $(RUN) bench.bench_transit
	@PYTHONPATH=. $(RUN) bench.bench_stores
	@PYTHONPATH=. $(RUN) bench.bench_pkcs11

screens: $(VENV)/.ready
	@PYTHONPATH=. $(RUN) tests.browser.screenshots docs/screens

$(UV):
	@echo "· preparing uv"
	@$(PYTHON) -m venv .boot && .boot/bin/python -m pip install -q --disable-pip-version-check uv==0.13.9

$(VENV)/.ready: requirements/dev.txt pyproject.toml | $(UV)
	@echo "· building the environment from the lock"
	@test -x $(VENV)/bin/python || $(UV) venv -q --python $(PYTHON) $(VENV)
	@$(UV) pip sync -q --python $(VENV)/bin/python --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(VENV)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

messages: $(VENV)/.ready
	@for l in vi en; do $(VENV)/bin/pybabel -q compile -D dauso -d core/locale -l $$l; done

lock: | $(UV)
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.txt pyproject.toml -o requirements/run.txt
	@echo hatchling | $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.txt - -o requirements/build.txt

clean:
	rm -rf $(VENV) .boot .demo
