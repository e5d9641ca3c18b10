"""Trials of Ray Tune are exact runs: resumed after a kill, reset, exploited and replayed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.environments import small_environment
from tests.support.networks import assert_same_bits
from wrn3d import Checkpoint, replay
from wrn3d.system.errors import UsageError
from wrn3d.system.machine import usable_cores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's
]

SETTINGS = {
    "dataset": "digits",
    "volume_size": 8,
    "validation": 200,
    "depth": 10,
    "widen_factor": 1,
    "batch_size": 32,
    "shards": 1,
    "momentum": 0.9,
    "learning_rate": 0.1,
    "iterations_per_step": 3,
}
CORES = usable_cores()  # for each trial: in one shard, their number decides the bits
RUN = {name: value for name, value in SETTINGS.items() if name != "iterations_per_step"}


@pytest.fixture(scope="module")
def ray_cluster():
    """Start Ray on this machine."""
    import ray

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", num_cpus=2 * CORES, **quiet)  # not the cluster of another test
    yield
    ray.shutdown()


def trained_alone(count, front_end="tensorlayer", **settings):
    env = small_environment(front_end, **RUN | settings)
    losses = [env.step().loss for _ in range(count)]
    return env, losses


def trial(**settings):
    from wrn3d.tune import Trainable

    return Trainable(SETTINGS | settings)


def fit(tmp_path, trainable=None, space=(), stop=3, **options):
    """Run trials; return their results."""
    from ray import tune

    from wrn3d.tune import Trainable

    run_options = {
        "stop": {"training_iteration": stop},
        "storage_path": str(tmp_path),
        "verbose": 0,
        "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
        "failure_config": tune.FailureConfig(max_failures=2),
    }
    tuner = tune.Tuner(
        trainable or tune.with_resources(Trainable, {"cpu": CORES}),
        param_space=SETTINGS | dict(space),
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", **options),
        run_config=tune.RunConfig(**run_options),
    )
    results = tuner.fit()
    assert not results.errors
    return results


@pytest.mark.parametrize("front_end", ["tensorlayer", "keras"])
def test_a_step_is_some_iterations_and_scores_of_the_validation_split(front_end):
    first = trial(front_end=front_end)
    env, losses = trained_alone(3, front_end)
    result = first.train()
    assert result["training_loss"] == np.mean(losses)
    assert result["accuracy"] == env.evaluate("validation").accuracy
    assert result["loss"] == env.evaluate("validation").loss and result["iterations"] == 3


def test_without_a_validation_split_a_note_says_what_is_reported():
    with pytest.warns(UserWarning, match="digits has no validation split, so the trial reports sc"):
        first = trial(validation=0)
    assert first.train()["accuracy"] == trained_alone(3, validation=0)[0].evaluate().accuracy


def test_settings_change_without_a_new_graph(tmp_path):
    first = trial()
    graph = first.env._train
    first.train()
    first.save_checkpoint(str(tmp_path))
    assert first.reset(SETTINGS | {"learning_rate": 0.02, "momentum": 0.5})
    first.restore(str(tmp_path))
    first.train()
    env, _ = trained_alone(3)
    for _ in range(3):
        env.step(learning_rate=0.02, momentum=0.5)
    assert_same_bits(first.env.get_weights(), env.get_weights())
    assert first.reset(SETTINGS) and first.env.iteration == 0  # a new trial
    first.train()
    assert_same_bits(first.env.get_weights(), trained_alone(3)[0].get_weights())
    assert first.env._train is graph and graph.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"dropout": 0.1}, {"weight_decay": 0.1}, {"schedule": "cosine", "epochs": 2}],
)
def test_other_settings_get_another_environment(change):
    first = trial()
    first.train()
    assert first.reset(SETTINGS | change)
    first.train()
    assert_same_bits(first.env.get_weights(), trained_alone(3, **change)[0].get_weights())
    assert first.reset(SETTINGS | change | {"learning_rate": 0.3})
    first.train()
    env, _ = trained_alone(3, **change, learning_rate=0.3)
    assert_same_bits(first.env.get_weights(), env.get_weights())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    first = trial(widen_factor=2)
    first.train()
    first.save_checkpoint(str(tmp_path))
    for settings, message in (
        ({}, "comes from a run with other settings: widen_factor was 2 and is 1"),
        (
            {"widen_factor": 2, "schedule": "linear", "learning_rate": 0.2},
            "schedule was 'constant'",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            trial(**settings).load_checkpoint(str(tmp_path))


def test_more_trials_than_cores_are_refused():
    from ray import tune

    from wrn3d.tune import Trainable

    class Crowded(Trainable):
        trial_resources = tune.PlacementGroupFactory([{"CPU": 0.5}])

    with pytest.raises(UsageError, match="more trials than cores may run at once: give each at le"):
        Crowded(SETTINGS)


def test_data_without_scores_are_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a validation nor a test split to report"):
        trial(dataset=str(write_table(tmp_path)), validation=0, folds=None)


def write_table(folder):
    lines = ["path,label,split"]
    for row in range(40):
        volume = np.random.default_rng(row).integers(0, 256, (8, 8, 8)).astype(np.uint8)
        np.save(folder / f"{row}.npy", volume)
        lines.append(f"{row}.npy,{row % 2},train")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


def test_paths_start_from_the_workers_first_folder(tmp_path, monkeypatch):
    from wrn3d.tune.trainable import _absolute

    for folder in ("digits", "volumes", "start"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path / "start")
    found = _absolute({"dataset": "digits", "recipe": "volumes", "init": None})
    assert found == {
        "dataset": "digits",
        "recipe": "volumes",
        "init": None,
        "data_dir": str(tmp_path / "data"),
    }
    found = _absolute(
        {"dataset": "x.npz", "recipe": "mine.toml", "init": "runs/x", "data_dir": "d"}
    )
    assert found == {
        "dataset": str(tmp_path / "x.npz"),
        "recipe": str(tmp_path / "mine.toml"),
        "init": str(tmp_path / "runs" / "x"),
        "data_dir": str(tmp_path / "d"),
    }


def test_population_based_training_replays_as_one_run(ray_cluster, tmp_path):
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        hyperparam_mutations={"learning_rate": tune.loguniform(0.01, 0.5)},
        synch=True,
    )
    space = {"learning_rate": tune.grid_search([0.3, 0.0001])}
    results = fit(tmp_path, space=space, stop=4, scheduler=scheduler, reuse_actors=True)
    lengths = []
    for result in results:
        with result.checkpoint.as_directory() as folder:
            env = small_environment("keras", **RUN)
            replay(env, Path(folder, "lineage.json"))
            saved = Checkpoint.load(Path(folder, "checkpoint.safetensors"))
            assert_same_bits(env.get_weights(), saved.weights)
            lineage = json.loads(Path(folder, "lineage.json").read_text())
            lengths.append(len(lineage["segments"]))
    assert max(lengths) > 1


def test_asha_stops_trials(ray_cluster, tmp_path):
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    space = {"learning_rate": tune.grid_search([0.3, 1e-6, 1e-7, 1e-8])}
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    options = {"scheduler": scheduler, "max_concurrent_trials": 1, "reuse_actors": True}
    results = fit(tmp_path, space=space, stop=4, **options)
    lengths = [result.metrics["training_iteration"] for result in results]
    assert max(lengths) == 4 > min(lengths) and len(results) == 4
    assert results.get_best_result().metrics["iterations"] == 12


def test_a_killed_worker_loses_nothing(ray_cluster, tmp_path):
    from ray import tune

    from wrn3d.tune import Trainable

    class Killed(Trainable):
        def step(self):
            marker = Path(self.given["marker"]) if "marker" in self.given else None
            if marker and self.env.iteration == 6 and not marker.exists():
                marker.touch()
                os._exit(1)
            return super().step()

        def setup(self, config):
            own = {name: value for name, value in config.items() if name != "marker"}
            super().setup(own)
            self.given = dict(config)

    marker = tmp_path / "killed"
    killed = tune.with_resources(Killed, {"cpu": CORES})
    [result] = fit(tmp_path / "disturbed", killed, {"marker": str(marker)}, stop=4)
    assert marker.exists() and result.metrics["iterations_since_restore"] == 2
    [undisturbed] = fit(tmp_path / "undisturbed", stop=4)
    for name in ("loss", "accuracy", "training_loss", "iterations"):
        assert result.metrics[name] == undisturbed.metrics[name]


@pytest.mark.parametrize("cores", [1, CORES])
def test_a_trial_has_the_threads_of_its_cores_and_the_drivers_paths(ray_cluster, tmp_path, cores):
    from ray import tune

    from wrn3d.tune import Trainable

    class Inspected(Trainable):
        def step(self):
            path = os.path.relpath(self.env.config.dataset, os.environ["TUNE_ORIG_WORKING_DIR"])
            found = {"threads": os.environ["TF_NUM_INTRAOP_THREADS"], "path": path}
            return super().step() | found | {"folder": os.getcwd()}

    table = os.path.relpath(write_table(tmp_path))
    space = {"dataset": table, "validation": 8}
    [result] = fit(tmp_path, tune.with_resources(Inspected, {"cpu": cores}), space, stop=1)
    assert result.metrics["threads"] == str(cores) and result.metrics["path"] == table
    assert result.metrics["folder"] != os.getcwd()


def test_trials_run_on_several_nodes(tmp_path):
    import ray
    from ray import tune
    from ray.cluster_utils import Cluster

    from wrn3d.tune import Trainable

    class Placed(Trainable):
        def step(self):
            return super().step() | {"node": ray.get_runtime_context().get_node_id()}

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES})
    cluster.add_node(num_cpus=CORES)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        space = {"learning_rate": tune.grid_search([0.1, 0.01])}
        placed = tune.with_resources(Placed, {"cpu": CORES})
        results = fit(tmp_path, placed, space=space, stop=1)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len({result.metrics["node"] for result in results}) == 2
    for result in results:
        env, _ = trained_alone(3, learning_rate=result.config["learning_rate"])
        assert result.metrics["loss"] == env.evaluate("validation").loss
