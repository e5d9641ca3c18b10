# make train      train on the embedded digits
# make test       the quick tests: at most five minutes on two cores
# make check      lint, types and every test: at most twenty-five minutes
# make soak       hours: runs killed by the hundred, long trainings, several workers over a bad link
#                 (which needs root for hosts of its own)
# make fuzz       every reader of files on ten thousand damaged ones: ten minutes
# make benchmark  compare with Keras, PyTorch and ONNX Runtime: an hour and a half; with
#                 ARGS=--quick less than three minutes
# make cards      write the cards of the trained networks and the tables of results from the runs'
#                 files; with DATA=folder measure the networks again
# make audit      ask for known weaknesses of the installed packages, where the network allows it
# Each sets up .venv first.
PYTHON ?= python3
PYTEST = .venv/bin/pytest -n 2 --dist worksteal
.DEFAULT_GOAL := train

.PHONY: train test check lint types slow soak fuzz benchmark cards audit clean

train: .venv/run.stamp
	.venv/bin/python cifar_wide_resnet_tl.py --dataset digits

test: .venv/dev.stamp
	$(PYTEST) -m "not slow and not soak"

check: lint types test slow

lint: .venv/dev.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/dev.stamp
	.venv/bin/mypy

slow: .venv/dev.stamp
	$(PYTEST) -m slow

soak: .venv/dev.stamp
	.venv/bin/pytest -m soak --kills 200 --minutes 60

benchmark: .venv/bench.stamp
	.venv/bin/python -m benchmarks $(ARGS)

cards: .venv/run.stamp
	.venv/bin/python -m cards $(if $(DATA),--data $(DATA))

fuzz: .venv/dev.stamp
	.venv/bin/pytest tests/fuzz --inputs 10000

audit: .venv/dev.stamp
	.venv/bin/pip-audit --requirement requirements.txt

# A stamp is newer than the requirements that were installed: a second call does no set-up again.
.venv/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 14) and "TensorFlow needs Python 3.11.4 to 3.13: make PYTHON=python3.13")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/bench.stamp: requirements-bench.txt requirements-onnx.txt .venv/run.stamp
	.venv/bin/python -m pip install --quiet --requirement requirements-bench.txt
	touch $@

.venv/dev.stamp: requirements-dev.txt requirements-rl.txt requirements-agent.txt requirements-medical.txt requirements-tune.txt .venv/bench.stamp
	.venv/bin/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
