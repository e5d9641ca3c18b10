"""Grad-CAM: its equations, and whether its maps make sense."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.environments import small_environment
from wrn3d import Dataset, WideResNetSpec, initial_weights, keras_model
from wrn3d.data.resizing import resize_to
from wrn3d.network.grad_cam import grad_cam
from wrn3d.network.variables import assign, named_variables
from wrn3d.system.errors import UsageError

SIDE, BLOCK = 12, 4


def with_blocks(count, seed):
    """Return volumes of noise (N, 12, 12, 12, 1) and labels; half of them have a bright block.

    Returns the corners of the blocks, too.
    """
    rng = np.random.default_rng(seed)
    volumes = rng.integers(0, 80, (count, SIDE, SIDE, SIDE, 1)).astype(np.uint8)
    labels, corners = np.arange(count) % 2, rng.integers(0, SIDE - BLOCK + 1, (count, 3))
    for volume, label, (z, y, x) in zip(volumes, labels, corners, strict=True):
        volume[z : z + BLOCK, y : y + BLOCK, x : x + BLOCK] += np.uint8(100 * label)
    return volumes, labels, corners


@pytest.fixture(scope="module")
def trained():
    """Return an environment that has learnt to see blocks, volumes with a block, and corners."""
    volumes, labels, _ = with_blocks(160, seed=0)
    env = small_environment(
        "keras",
        data=Dataset.from_arrays(volumes, labels),
        **{"strides": (1, 1, 2), "learning_rate": 0.1, "momentum": 0.9, "batch_size": 16},
    )
    for _ in range(40):
        env.step()
    volumes, labels, corners = with_blocks(24, seed=1)
    shown = labels == 1
    volumes = env.dataset.normalise(volumes)
    assert (env.predict(volumes).argmax(axis=1) == labels).mean() > 0.9
    return env, volumes[shown], corners[shown]


def distances(maps, corners):
    """Return how far the peak of each map is from the block's centre, in voxels."""
    peaks = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    return np.linalg.norm(peaks - (corners + (BLOCK - 1) / 2), axis=1)


@pytest.mark.parametrize("group", [1, 2])
def test_the_map_lies_on_what_decides(trained, group):
    env, volumes, corners = trained
    maps = env.explain(volumes, 1, group)
    assert maps.shape == volumes.shape[:4] and maps.dtype == np.float32
    assert np.median(distances(maps, corners)) < BLOCK / 2
    inside = np.zeros(maps.shape, bool)
    for one, (z, y, x) in zip(inside, corners, strict=True):
        one[z : z + BLOCK, y : y + BLOCK, x : x + BLOCK] = True
    pairs = zip(maps, inside, strict=True)
    assert np.median([one[block].mean() / one.mean() for one, block in pairs]) > 3


def test_the_map_follows_the_weights_when_they_are_randomised_from_the_top(trained):
    """The sanity check of Adebayo et al. 2018, section 3.1."""
    env, volumes = trained[0], trained[1][:4]
    before = grad_cam(env.spec, env.get_weights(), volumes, 1)
    tops = ("fc", "bn", "group2", "group1", "group0", "conv0")
    similar = np.zeros((8, len(tops)))
    for seed, row in enumerate(similar):
        weights, fresh = env.get_weights(), initial_weights(env.spec, seed)
        for number, top in enumerate(tops):
            weights |= {name: fresh[name] for name in weights if name.split(".")[0] == top}
            after = grad_cam(env.spec, weights, volumes, 1)
            pairs = [(one, other) for one, other in zip(before, after, strict=True) if other.any()]
            row[number] = np.mean([_correlation(*pair) for pair in pairs]) if pairs else np.nan
    known = np.isfinite(similar)
    assert known.sum(axis=0).min() >= 4  # of 8 draws; in the others no map had evidence
    assert np.nanmean(similar, axis=0).max() < 0.75


def _correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_both_front_ends_give_the_same_map(trained):
    env, volumes, _ = trained
    other = small_environment(
        "tensorlayer", data=env.dataset, strides=(1, 1, 2), momentum=0.9, learning_rate=0.1
    )
    other.restore(env.snapshot())
    assert np.array_equal(env.explain(volumes), other.explain(volumes))


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (8, 12, 10, 1)])
@pytest.mark.parametrize(
    "group, name", [(0, "group1.block0.bn0"), (1, "group2.block0.bn0"), (2, "bn")]
)
def test_maps_are_those_of_the_equations(shape, group, name):
    spec = WideResNetSpec(10, 2, num_classes=3, input_shape=shape, shortcut="projection")
    model, rng = keras_model(spec), np.random.default_rng(0)
    weights = {
        key: np.abs(array) + rng.normal(size=array.shape, scale=0.1).astype(np.float32) ** 2
        if ".running_" in key
        else array + rng.normal(size=array.shape, scale=0.1).astype(np.float32)
        for key, array in initial_weights(spec, 0).items()
    }
    assign(named_variables(model), weights)
    volumes = rng.normal(size=(4, *shape)).astype(np.float32)
    inner = keras.Model(model.inputs[0], [model.get_layer(name).output, *model.outputs])
    with tf.GradientTape() as tape:
        activations, logits = inner(volumes)
        scores = logits[:, 1]
    alpha = tape.gradient(scores, activations).numpy().mean(axis=(1, 2, 3), keepdims=True)
    expected = np.maximum(0, (alpha * activations.numpy()).sum(axis=-1, keepdims=True))
    expected = resize_to(expected, shape[:3])[..., 0]
    maps = grad_cam(spec, weights, volumes, 1, group)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_the_default_label_is_the_predicted_one(trained):
    env, volumes, _ = trained
    predicted = env.predict(volumes).argmax(axis=1)
    assert np.array_equal(env.explain(volumes), env.explain(volumes, predicted))


@pytest.mark.parametrize("label", [2, -1, [0, 1], 0.5, "ill", [[1]] * 12])
def test_other_labels_are_refused(trained, label):
    env, volumes, _ = trained
    with pytest.raises(
        UsageError, match="label is .*, but must be a whole number from 0 to 1, or "
    ):
        env.explain(volumes, label)


def test_other_groups_are_refused(trained):
    env, volumes, _ = trained
    with pytest.raises(UsageError, match="group is 3, but must be a whole number from 0 to 2"):
        env.explain(volumes, group=3)
