# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Bytecode is kept where the environment forbids it, too: else each of a hundred processes compiles everything again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: install demo test test-all check format bench docs release clean

install: $(VENV)/.demo $(VENV)/.kaggle $(VENV)/.plots

demo: $(VENV)/.demo $(VENV)/.plots
	$(BIN)/wb demo

# What is slow is left to `test-all`, which CI runs.
test: $(VENV)/.test
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.test
	$(PYTEST)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports
	$(BIN)/python -m tests.vague_names

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench

# The site, in site/: open site/index.html. Nothing on a page comes from outside. Its search needs a server, as
# `python -m http.server --directory site`: the plugin for offline use would load a script from elsewhere.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Wheel and source distribution in dist/, each installed and tried out in an environment of its own. With TAG=v0.2.0
# it also checks that version, changelog and commit are ready to be published under it.
release: $(VENV)/.release
	$(BIN)/python -m tests.release $(if $(TAG),--tag $(TAG))

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("the workbench needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# Each stamp says which extra is installed; it is made again when what it depends on changes.
$(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip uninstall --quiet --yes workbench 2> /dev/null  # what kaggle-workbench was called before
	$(PIP) --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
