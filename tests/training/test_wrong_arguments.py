"""Every public call refuses wrong arguments with one sentence, before anything changes."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from tests.training.states import full_state, refused, same
from wrn3d import (
    Checkpoint,
    Dataset,
    TrainingConfig,
    WideResNetSpec,
    initial_weights,
    keras_model,
    load_dataset,
    make_optimizer,
    tensorlayer_model,
)
from wrn3d.predict import Classifier
from wrn3d.system.errors import UsageError, UserError

ARRAY = np.zeros((2, 1, 16, 16, 3))
WRONG = (
    *(None, -1, 2.5, float("nan"), 10**40, 1 + 2j, True),
    *("x", "", "a\0b", "\ud800", b"x"),
    *([], [1.5], ["x"], [[1], [1, 2]], (), {}, {1: 2}, {"x": None}, set(), iter([1])),
    *(ARRAY, np.zeros(3), np.array(5), np.array([True, False]), np.array([10**9])),
    *(torch.zeros(3, requires_grad=True), np.datetime64("2020"), slice(0, 5), object()),
    Checkpoint({}),
)
ENVIRONMENT = {
    "evaluate": lambda env, start, x: env.evaluate(x),
    "evaluate two": lambda env, start, x: env.evaluate(x, x),
    "track": lambda env, start, x: env.evaluate(track=x),
    "mirror": lambda env, start, x: env.predict_views(mirror=x),
    "predict": lambda env, start, x: env.predict(x),
    "use_only": lambda env, start, x: env.use_only(x),
    "save": lambda env, start, x: env.save(x),
    "load": lambda env, start, x: env.load(x),
    "restore": lambda env, start, x: env.restore(x),
    "restore with a seed": lambda env, start, x: env.restore(start, seed=x),
    **{
        f"restore {one.name}": lambda env, start, x, name=one.name: env.restore(
            replace(start, **{name: x})
        )
        for one in fields(Checkpoint)
    },
    "reset": lambda env, start, x: env.reset(seed=x),
    "set_weights": lambda env, start, x: env.set_weights(x),
    "next_batch": lambda env, start, x: env.next_batch(x),
    "step": lambda env, start, x: env.step(x, x),
    "labels": lambda env, start, x: env.step(ARRAY, x),
    "gradients": lambda env, start, x: env.gradients(x, [0, 1]),
    "learning rate": lambda env, start, x: env.step(learning_rate=x),
    "dropout": lambda env, start, x: env.step(dropout=x),
    "update": lambda env, start, x: env.step(update=x),
}


def refuses(call, *arguments):
    """Return whether the call raises an exception, which must be one sentence for the user."""
    try:
        call(*arguments)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 500, str(error)
        return True
    return False


@pytest.mark.slow
def test_an_environment_answers_with_a_sentence(environments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    env = environments("keras")
    env.step()
    start, before = env.snapshot(), full_state(env)
    for name, call in ENVIRONMENT.items():
        taken = [value for value in WRONG if not refuses(call, env, start, value)]
        if not taken:
            assert same(full_state(env), before), name
        env.use_only(None)
        env.restore(start)


@pytest.fixture
def others(digits):
    """Return {a name: a function of one argument} of what needs no environment."""
    spec, config = WideResNetSpec(10, 1), TrainingConfig()
    made = {"train_images": digits.train_volumes[:6], "train_labels": [0, 1] * 3}

    def with_argument(function, argument, **others):
        return lambda value: function(**others | {argument: value})

    return {
        **{
            f"Dataset.{name}": getattr(digits, name)
            for name in ("split", "with_validation", "with_training_rows", "normalise")
        },
        "Dataset.resized": lambda value: value is True or digits.resized(value),
        **{
            f"from_arrays {name}": with_argument(Dataset.from_arrays, name, **made)
            for name in (*made, "test_images", "validation_labels", "class_names", "title")
        },
        **{
            f"Dataset {one.name}": lambda value, name=one.name: replace(digits, **{name: value})
            for one in fields(Dataset)
        },
        **{
            f"load_dataset {name}": with_argument(load_dataset, name, name="digits")
            for name in ("name", "data_dir", "volume_size")
        },
        **{
            f"{kind.__name__} {one.name}": with_argument(kind, one.name)
            for kind in (WideResNetSpec, TrainingConfig)
            for one in fields(kind)
        },
        "Classifier": Classifier,
        "Checkpoint.load": Checkpoint.load,
        "Checkpoint.save": Checkpoint({}).save,
        **{
            f"{function.__name__} {name}": with_argument(function, name, spec=spec, seed=-1)
            for function in (initial_weights, keras_model, tensorlayer_model)
            for name in ("spec", "seed")
        },
        "make_optimizer config": lambda value: make_optimizer(value, spec),
        "make_optimizer spec": lambda value: make_optimizer(config, value),
    }


@pytest.mark.slow
def test_everything_else_answers_with_a_sentence(others, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for call in others.values():
        for value in WRONG:
            refuses(call, value)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda env: env.evaluate(ARRAY, [0, 1]),
            r"^split is an array of the shape \(2, 1, 16, 16, 3\), but must be train, validation o",
        ),
        (lambda env: env.evaluate(track=3), "^track is 3, but must be a function of a list$"),
        (lambda env: env.evaluate(mirror="no"), "^mirror is 'no', but must be True or False$"),
        (lambda env: env.save(None), "^path is None, but must be the path of a file or folder$"),
        (lambda env: env.load(b"x"), "^path is b'x', but must be the path of a file or folder$"),
        (lambda env: env.save("a\0b"), r"^path is 'a\\x00b', but must be the path of a file or f"),
        *[
            (lambda env, rows=rows: env.use_only(rows), "but must be a list of whole .* to 1,499, ")
            for rows in ([0.5], ["x"], [1500], [-1501], [[0, 1]], 3, np.ones(3, bool), "x")
        ],
        (
            lambda env: env.restore(replace(env.snapshot(), iteration=2.5)),
            "^iteration is 2.5, but must be a whole number from 0 up$",
        ),
        (
            lambda env: env.restore(replace(env.snapshot(), average=[1])),
            "^average of a checkpoint is list, but must be a dictionary$",
        ),
        (
            lambda env: env.dataset.with_validation(-5),
            "^validation is -5, but must be a whole number from 0 up$",
        ),
        (lambda env: keras_model("WRN-10-1"), "^spec is 'WRN-10-1', but must be a WideResNetSpec$"),
        (lambda env: initial_weights(env.spec, "x"), "^seed is 'x', but must be a whole number"),
        (
            lambda env: replace(env.dataset, test_volumes=ARRAY, test_labels=np.array([0, 1])),
            "^test_volumes must be .* of one type .* test_labels int64 .*: make .* with",
        ),
        (
            lambda env: replace(env.dataset, class_names=("a", "b")),
            "^labels go up to 9, but class_names has only 2",
        ),
    ],
)
def test_the_sentences(environments, call, message):
    env = environments("keras")
    with refused(env, UsageError, message):
        call(env)


def test_rows_may_be_indices_from_either_end_or_a_mask(digits):
    mask = digits.train_labels == 3
    rows = np.flatnonzero(mask)
    expected = digits.with_training_rows(rows)
    assert set(expected.train_labels) == {3}
    for same_rows in (mask, mask.tolist(), rows.tolist(), rows - 1500, torch.tensor(rows)):
        assert digits.with_training_rows(same_rows).fingerprint == expected.fingerprint


def test_a_snapshot_holds_the_rows_of_a_mask_as_indices(environments):
    env = environments("keras")
    mask = np.arange(1500) % 2 == 1
    for rows in (mask, np.arange(-1499, 0, 2)):
        env.use_only(rows)
        assert np.array_equal(env.snapshot().rows, np.arange(1, 1500, 2))


def test_a_data_set_may_be_named_by_a_path_object(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        **{
            f"{split}_{kind}": value
            for split in ("train", "test")
            for kind, value in (("images", np.zeros((2, 8, 8), np.uint8)), ("labels", [0, 1]))
        },
    )
    assert load_dataset(tmp_path / "x.npz").origin == str(tmp_path / "x.npz")
