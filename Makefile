# Two commands do all the set-up: `make demo` and `make test`. Both make .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types bench clean

demo: $(VENV)/.jax
	$(VENV)/bin/agnoscope demo

test: $(VENV)/.test
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
	$(PIP) --constraint constraints.txt --editable ".[testing]" --group test
	touch $@

$(VENV)/.lint: $(VENV)/.made pyproject.toml
	$(PIP) --group lint
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
