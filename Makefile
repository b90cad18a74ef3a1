# Two commands do all the set-up: `make demo` and `make test`. Both make .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types bench docs clean

demo: $(VENV)/.jax
	$(VENV)/bin/agnoscope demo

test: $(VENV)/.test $(VENV)/.browser
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.test $(VENV)/.lint
	$(VENV)/bin/mypy

bench: $(VENV)/.test
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m benchmarks.cost
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m benchmarks.demo_table
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m benchmarks.imagine

docs: $(VENV)/.test
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m sphinx -W --keep-going -q -b html -D nb_execution_mode=force \
		docs docs/_build

# pip before 25.1 does not know dependency groups.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	touch $@

$(VENV)/.jax: $(VENV)/.made pyproject.toml
	$(PIP) --constraint constraints.txt --editable ".[jax]"
	touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --constraint constraints.txt --group frameworks
	$(PIP) --constraint constraints.txt --editable ".[testing]" --group test --group docs
	touch $@

# A browser for the tests of pages, which skip with a reason where none can be had.
$(VENV)/.browser: $(VENV)/.made
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; } \
		> /dev/null 2>&1 || echo "no chromium: the pages are not tested in a browser"
	touch $@

$(VENV)/.lint: $(VENV)/.made pyproject.toml
	$(PIP) --group lint
	touch $@

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
