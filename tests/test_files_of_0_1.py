"""Files of version 0.1, whose modules had other names: they load, resume and predict.

`run` is a run of 10 iterations by the TensorLayer script with the flags below, and `whole-log.csv`
is the log of the same run with 20. `before.keras` is a Keras model saved after 3 iterations, and
`before.npz` has some volumes and the model's logits for them.
"""

import csv
import shlex
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import wrn3d
from tests.support.environments import small_environment
from tests.support.processes import run_script
from tests.support.runs import SMALL
from tests.training.states import tensorlayer_slow
from wrn3d import Checkpoint
from wrn3d.predict import Classifier

FILES = Path(__file__).parent / "data_files" / "0.1"
CHECKPOINT = FILES / "run" / "checkpoint-00000010.safetensors"
SETTINGS = {"momentum": 0.9, "nesterov": True, "shortcut": "projection", "augment": True, "seed": 7}
FLAGS = shlex.split(
    "--momentum 0.9 --nesterov --shortcut projection --augment --seed 7 --save-every 10"
)
# Other processors round differently.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
LOSS_ROUNDING = 1e-3


def losses(path):
    with path.open() as file:
        return [float(line["loss"]) for line in csv.DictReader(file)]


def test_a_keras_model_gives_its_logits_and_trains_on():
    model = keras.models.load_model(FILES / "before.keras")
    before = np.load(FILES / "before.npz")
    logits = model.predict_on_batch(before["volumes"])
    np.testing.assert_allclose(logits, before["logits"], **ROUNDING)
    assert type(model.optimizer) is wrn3d.SGD and model.optimizer.iterations == 3
    logs = [model.train_on_batch(before["volumes"], np.arange(8), return_dict=True) for _ in "123"]
    assert logs[2]["batch_loss"] < logs[0]["batch_loss"]


def test_a_run_resumes(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(FILES / "run", folder)
    flags = [*SMALL, *FLAGS, "--output", folder, "--resume", "--iterations", "20"]
    process = run_script("tensorlayer", *flags)
    assert (process.returncode, process.stderr) == (0, "")
    assert f"resumed   {folder} after iteration 10\n" in process.stdout
    log, whole = (folder / "log.csv").read_text(), (FILES / "whole-log.csv").read_text()
    assert log.splitlines()[:11] == whole.splitlines()[:11]
    expected = losses(FILES / "whole-log.csv")
    assert losses(folder / "log.csv") == pytest.approx(expected, rel=0, abs=LOSS_ROUNDING)
    assert Checkpoint.load(folder / "checkpoint-00000020.safetensors").iteration == 20


@tensorlayer_slow
def test_a_checkpoint_continues_and_predicts_in_either_front_end(front_end):
    env = small_environment(front_end, **SETTINGS)
    env.load(CHECKPOINT)
    assert (env.iteration, env.index_in_epoch) == (10, 320)
    classifier = Classifier(CHECKPOINT)
    volumes, logits = env.dataset.test_volumes[:8], env.predict(env.x_test[:8]).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier(volumes), probabilities, **ROUNDING)
    assert tuple(classifier.class_names) == env.dataset.class_names
    expected = losses(FILES / "whole-log.csv")[10:12]
    actual = [env.step().loss for _ in range(2)]
    assert actual == pytest.approx(expected, rel=0, abs=LOSS_ROUNDING)
