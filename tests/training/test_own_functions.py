"""A caller's own loss and metrics: the same bits in both front ends, and known to checkpoints."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.environments import environment_class, small_environment
from wrn3d.runs.command import main
from wrn3d.system.errors import UsageError

LEARNING = {"learning_rate": 0.1, "momentum": 0.9}


def focal(labels, logits):
    """Return the focal loss of Lin et al. 2017 with gamma 2, (N,)."""
    shares = tf.gather(tf.nn.softmax(logits), labels, batch_dims=1)
    return -tf.square(1 - shares) * tf.math.log(shares + 1e-7)


def cross_entropy(labels, logits):
    return -tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)


def brier(labels, probabilities):
    return np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1).mean()


def steps(env, count=4):
    return [env.step().loss for _ in range(count)]


@pytest.mark.parametrize("settings", [{}, {"class_weights": True, "weight_decay": 0.01}])
def test_an_own_loss_gives_the_same_bits_in_both_front_ends(settings):
    envs = [
        small_environment(name, loss=focal, **LEARNING, **settings)
        for name in ("tensorlayer", "keras")
    ]
    plain = small_environment("keras", **LEARNING, **settings)
    losses = [steps(env) for env in envs]
    assert losses[0] == losses[1] != steps(plain)
    weights = [env.get_weights() for env in envs]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_its_value_and_gradient_are_those_of_the_function():
    env, plain = (small_environment("tensorlayer", **options) for options in ({"loss": focal}, {}))
    volumes, labels = env.next_batch(32)
    model = env.keras_model
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(focal(labels, model(volumes, training=True)))
    expected = tape.gradient(value, model.trainable_weights)
    assert env.step(volumes, labels, update=False).loss == pytest.approx(float(value), rel=1e-5)
    found = env.gradients(volumes, labels)
    np.testing.assert_allclose(found["fc.weight"], expected[-2], rtol=1e-3, atol=1e-6)
    assert not np.allclose(plain.gradients(volumes, labels)["fc.weight"], found["fc.weight"])


def test_the_own_cross_entropy_is_the_packages():
    own, plain = (
        small_environment("keras", **options, **LEARNING)
        for options in ({"loss": cross_entropy}, {})
    )
    assert steps(own) == pytest.approx(steps(plain), rel=1e-6)


@pytest.mark.parametrize("front_end", ["tensorlayer", "keras"])
def test_own_metrics_are_measured(front_end):
    env = small_environment(front_end, metrics={"brier": brier}, validation=100)
    for split in ("test", "validation"):
        predictions = env.predict_split(split)
        expected = brier(predictions.labels, np.exp(predictions.log_probabilities))
        result = env.evaluate(split)
        assert result.metrics == {"brier": expected} and result.by_name["brier"] == expected
        assert result.as_json["brier"] == expected


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"loss": "focal"}, "loss is 'focal', but must be a function of labels"),
        (
            {"loss": lambda labels, logits: tf.reduce_mean(logits)},
            r"loss has the shape \(\) for each",
        ),
        ({"loss": focal, "label_smoothing": 0.1}, "label_smoothing belongs to the cross-entropy"),
        ({"metrics": [brier]}, "metrics is .*, but must be a dictionary of functions"),
        ({"metrics": {"brier": 3}}, "metrics is .*, but must be a dictionary of functions"),
        ({"metrics": {"auc": brier}}, "metrics has the name 'auc', but must have Python names oth"),
        ({"metrics": {"a b": brier}}, "metrics has the name 'a b', but must have Python names"),
        ({"best_by": "brier"}, "best_by is 'brier', but must be accuracy or auc"),
    ],
)
def test_other_functions_are_refused(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        small_environment("tensorlayer", **arguments).step()


def test_the_keras_model_saves_with_a_function_that_keras_knows(tmp_path):
    registered = keras.saving.register_keras_serializable(package="tests")(focal)
    env = small_environment("keras", loss=registered, **LEARNING)
    env.step()
    env.model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    volumes, labels = env.next_batch(32)
    assert loaded.evaluate(volumes, labels, verbose=0)[0] == pytest.approx(
        env.model.evaluate(volumes, labels, verbose=0)[0]
    )


class FocalEnv(environment_class("keras")):
    loss = staticmethod(focal)
    metrics = {"brier": brier}  # noqa: RUF012 - as users write it


FLAGS = ["--dataset", "digits", "--volume-size", "8", "--validation", "200", "--depth", "10"]
FLAGS += ["--widen-factor", "1", "--save-every", "2", "--evaluate", "--best-by", "brier"]


@pytest.mark.slow
def test_a_script_of_ones_own_logs_them_and_chooses_by_them(tmp_path, capsys):
    folder = tmp_path / "run"
    run = [*FLAGS, "--output", str(folder)]
    assert main(FocalEnv, "A script.", [*run, "--iterations", "4"]) == 0
    header, *rows = (folder / "validation.csv").read_text().splitlines()
    assert header == "iteration,loss,accuracy,balanced_accuracy,auc,brier" and len(rows) == 2
    scores = {int(row.split(",")[0]): float(row.split(",")[-1]) for row in rows}
    output = capsys.readouterr().out
    assert "  brier " in output and f"validation brier {max(scores.values()):.4f}" in output
    assert "brier" in json.loads((folder / "test.json").read_text())["test"]
    again = [*run, "--iterations", "6", "--resume"]
    assert main(FocalEnv, "A script.", again) == 0
    other = type("OtherEnv", (FocalEnv,), {"loss": staticmethod(cross_entropy)})
    longer = [*run, "--iterations", "8", "--resume"]
    assert main(other, "A script.", longer) == 2
    assert "had loss of its own, other than now: use the run's own, or add --override loss" in (
        capsys.readouterr().err
    )
    assert main(other, "A script.", [*longer, "--override", "loss"]) == 0


@pytest.mark.slow
def test_other_metrics_continue_a_run_with_override(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = [*FLAGS[:-2], "--output", str(folder)]
    assert main(FocalEnv, "A script.", [*flags, "--iterations", "2"]) == 0
    other = type("OtherEnv", (FocalEnv,), {"metrics": {"other": brier}})
    longer = [*flags, "--iterations", "4", "--resume"]
    assert main(other, "A script.", longer) == 2
    assert "add --override metrics" in capsys.readouterr().err
    assert main(other, "A script.", [*longer, "--override", "metrics"]) == 0
    header, first, last = (folder / "validation.csv").read_text().splitlines()
    assert header.endswith(",auc,other") and first.endswith(",nan")
    assert not last.endswith("nan")


def test_an_older_checkpoint_had_no_functions(tmp_path):
    folder = tmp_path / "run"
    plain = environment_class("keras")
    flags = [*FLAGS[:-2], "--output", str(folder)]
    assert main(plain, "A script.", [*flags, "--iterations", "2"]) == 0
    env = small_environment("keras")
    state = env.snapshot()
    assert state.config["loss"] is None and state.config["metrics"] == {}
    older = {name: one for name, one in state.config.items() if name not in ("loss", "metrics")}
    env.restore(replace(state, config=older))
