# Every target makes the environment it needs, in .venv, and then does its work. An environment is
# made again only when what it is made from has changed: setup.cfg, pyproject.toml, constraints.txt.

PYTHON ?= python3
export TF_CPP_MIN_LOG_LEVEL ?= 3

made_from = setup.cfg pyproject.toml constraints.txt
install = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

layer_table = tests/test_conformance.py tests/test_conformance_masks.py tests/test_export.py \
	tests/test_conformance_empty.py tests/test_first_use.py

.PHONY: test test-all coverage smoke check format docs screenshots tutorials readme translate demo caption \
	reverse sort few-shot copy-task forecast emoji-names test-backends conformance bench package clean
.DELETE_ON_ERROR:

test: .venv/with-test
	.venv/bin/python tests/run.py $(options)

# Every case of every test: each layer in each precision, format and way to compile.
test-all: options = --exhaustive
test-all: test

# Also which lines of the library no test runs. Exports to ONNX take 2.5 times as long with it.
coverage: options = --cov=keras_attention --cov-report=
coverage: test
	.venv/bin/python -m coverage combine
	.venv/bin/python -m coverage report --skip-covered

# Seconds: every saved file loads, imports run one way, a model trains.
smoke: .venv/with-test
	.venv/bin/python -m pytest -x tests/test_saved_files.py tests/test_package.py tests/test_reverse.py \
		-k 'not distribution and not wheel'

check: .venv/with-dev
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy

format: .venv/with-dev
	.venv/bin/python -m ruff check --fix
	.venv/bin/python -m ruff format

# Tutorials run again when their text has changed; `make -B tutorials` runs all of them.
docs: .venv/with-docs docs/scripts/node_modules
	.venv/bin/python docs/pictures/draw.py
	$(MAKE) --no-print-directory -j 2 tutorials
	.venv/bin/python docs/scripts/stage.py
	.venv/bin/python -m zensical build --clean --strict
	node docs/scripts/equations.mjs site
	.venv/bin/python docs/scripts/links.py site

# How the site looks, in out/screenshots, with Chromium; fails where a page scrolls sideways.
screenshots: .venv/with-test
	.venv/bin/python docs/scripts/screenshots.py site out/screenshots

tutorials: $(patsubst docs/%.py,out/%.ipynb,$(wildcard docs/tutorials/*.py))

out/tutorials/%.ipynb: docs/tutorials/%.py | .venv/with-docs
	.venv/bin/python docs/scripts/tutorials.py $< $@

# KaTeX, which sets the equations. Node.js runs it.
docs/scripts/node_modules: docs/scripts/package-lock.json
	@command -v npm >/dev/null || { echo 'Node.js with npm is needed for the equations' >&2; exit 1; }
	npm ci --silent --prefix docs/scripts
	@touch $@

# Writes the lists of members in README.md.
readme: .venv/with-test
	.venv/bin/python docs/scripts/members.py

# Trains, evaluates and exports once; then the export translates a line in a process of its own.
translator = .venv/bin/python -m examples.translation

translate: out/translation/saved_model/saved_model.pb
	$(translator) translate --model out/translation/saved_model 'woman detective'

# Serves the same export: a page to translate on, and the REST interface of TF Serving.
demo: .venv/with-serve out/translation/saved_model/saved_model.pb
	$(translator) serve --model out/translation/saved_model

out/translation/saved_model/saved_model.pb: out/translation/alignment.png
	$(translator) export --out out/translation

out/translation/alignment.png: .venv/with-examples $(wildcard examples/translation/*.py)
	$(translator) train --out out/translation
	$(translator) evaluate --out out/translation

# Trains three captioners, with soft, hard and no attention, evaluates them side by side and exports
# the soft one, which then captions a picture in a process of its own. The hard one starts from the
# soft one: from fresh weights it takes much longer.
captioner = .venv/bin/python -m examples.captioning

caption: out/captioning/saved_model/saved_model.pb
	tar -xf out/captioning/scenes/images.tar -C out/captioning test-00000.png
	$(captioner) explain out/captioning/test-00000.png
	$(captioner) caption out/captioning/test-00000.png

out/captioning/saved_model/saved_model.pb: out/captioning/attention.html
	$(captioner) export

out/captioning/attention.html: .venv/with-examples $(wildcard examples/captioning/*.py)
	$(captioner) train --attention soft
	$(captioner) train --attention hard --start-from out/captioning/soft --epochs 2 --learning-rate 5e-4 --entropy 0
	$(captioner) train --attention none
	$(captioner) evaluate

reverse sort few-shot copy-task forecast emoji-names: .venv/with-examples
	.venv/bin/python -m examples.$(subst -,_,$@)

test-backends: .venv-jax/ready .venv-torch/ready
	KERAS_BACKEND=jax .venv-jax/bin/python -m pytest tests/backends
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest tests/backends

# A failing check must not stop the others: the page shows it, and the last command fails.
conformance: .venv/with-test .venv-jax/ready .venv-torch/ready
	-.venv/bin/python -m pytest -n 2 --dist loadfile --exhaustive $(layer_table) \
		--outcomes out/conformance/tensorflow.json
	-KERAS_BACKEND=jax .venv-jax/bin/python -m pytest tests/backends \
		--outcomes out/conformance/jax.json
	-KERAS_BACKEND=torch .venv-torch/bin/python -m pytest tests/backends \
		--outcomes out/conformance/torch.json
	.venv/bin/python docs/scripts/conformance.py > out/conformance/page.md

# The peers get environments of their own, in .bench.
bench: .venv/with-examples
	.venv/bin/python -m benchmarks.run --env ours=.venv/bin/python --page docs/benchmarks.md
	.venv/bin/python -m benchmarks.roofline --page docs/benchmarks.md

package: .venv/with-test
	rm -rf build dist
	.venv/bin/python -m build --no-isolation

clean:
	rm -rf .venv .venv-jax .venv-torch build dist site docs/scripts/node_modules *.egg-info

.venv/with-%: $(made_from) | .venv/bin/python
	.venv/bin/python $(install) --editable '.[$*]'
	@touch $@

# Keras and one backend, without TensorFlow, which the package would bring.
.venv-%/ready: $(made_from)
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(install) keras $* hypothesis pytest
	.venv-$*/bin/python $(install) --no-deps --editable .
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo 'Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv .venv
