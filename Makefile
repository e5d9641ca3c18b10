# make train: train on the embedded digits.  make test: run every test.
# make benchmark: measure every size, more than an hour; with ARGS=--quick less than two minutes.
# make soak: kills, and an hour of training by each script, at once; then several workers, and their
# faults, which needs root for hosts of its own.  make fuzz: damaged files, ten minutes.
# make audit: known weaknesses of what is installed, where the network lets it ask.
# Each sets up .venv first.
PYTHON ?= python3
.DEFAULT_GOAL := train

.PHONY: train test benchmark soak soak-kills soak-tensorlayer soak-keras soak-workers fuzz audit clean

train: .venv/run.stamp
	.venv/bin/python cifar_wide_resnet_tl.py --dataset digits

test: .venv/dev.stamp
	.venv/bin/ruff check .
	.venv/bin/pytest -n 2 --dist worksteal

benchmark: .venv/bench.stamp
	.venv/bin/python -m benchmarks $(ARGS)

soak: .venv/dev.stamp
	$(MAKE) -j 3 soak-kills soak-tensorlayer soak-keras
	$(MAKE) soak-workers

soak-workers: .venv/dev.stamp
	.venv/bin/pytest -q tests/test_workers.py tests/soak_workers.py --workers 2,3,4 --kills 20

soak-kills:
	.venv/bin/pytest -q tests/test_kills.py --kills 200

soak-tensorlayer soak-keras: soak-%:
	.venv/bin/pytest -q tests/test_long_run.py -k $* --minutes 60

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

.venv/bench.stamp: requirements-bench.txt .venv/run.stamp
	.venv/bin/python -m pip install --quiet --requirement requirements-bench.txt
	touch $@

.venv/dev.stamp: requirements-dev.txt requirements-onnx.txt requirements-rl.txt .venv/bench.stamp
	.venv/bin/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
