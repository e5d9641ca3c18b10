"""A process's rank, its rows of a batch, and settings that several workers cannot have."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.environments import small_environment
from wrn3d.distributed import cluster_worker
from wrn3d.distributed.workers import WorkerRank, find_rank, part
from wrn3d.system.errors import UsageError


def config(index, count=2, kind="worker", **others):
    cluster = {"worker": [f"a:{port}" for port in range(1, count + 1)]} | others
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    "variables, rank",
    [
        ({}, WorkerRank()),
        ({"TF_CONFIG": ""}, WorkerRank()),
        ({"TF_CONFIG": "{}"}, WorkerRank()),
        ({"SLURM_STEP_NUM_TASKS": "4"}, WorkerRank()),
        (config(1), WorkerRank(1, 2, "TF_CONFIG", 2)),
        (config(1, chief=["b:1"]), WorkerRank(2, 3, "TF_CONFIG", 2)),
        (config(0, kind="chief", chief=["b:1"]), WorkerRank(0, 3, "TF_CONFIG", 1)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, WorkerRank()),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, WorkerRank(3, 4, "SLURM")),
    ],
)
def test_the_environment_gives_the_rank(variables, rank):
    assert find_rank(variables) == rank


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        config(0)["TF_CONFIG"].replace('"index": 0', '"index": 1e999'),
        "[]",
        "7",
        *(config(*bad)["TF_CONFIG"] for bad in ((2,), (-1,), (0, 2, "evaluator"), (0, 2, "ps"))),
        config(0, ps=["a:1"])["TF_CONFIG"],
        config(0, chief=["a:1", "b:1"])["TF_CONFIG"],
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        config(0, kind=["worker"])["TF_CONFIG"],
    ],
)
def test_an_invalid_cluster_is_refused(text):
    with pytest.raises(UsageError, match="TF_CONFIG"):
        find_rank({"TF_CONFIG": text})


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "grpc://a:1",
        "http://a:1",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:-1",
        "a:x",
        "a b:1",
        "",
        None,
    ],
)
@pytest.mark.parametrize("index", [0, 1])
def test_an_address_that_cannot_be_is_named(address, index):
    cluster = {"worker": ["b:1", address]}
    text = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    with pytest.raises(UsageError) as error:
        find_rank({"TF_CONFIG": text})
    assert str(error.value) == (
        f"TF_CONFIG gives worker 1 the address '{address}': write a host and a port, such as "
        "10.0.0.1:2222"
    )


def test_two_workers_with_one_address_are_refused():
    with pytest.raises(UsageError, match="gives workers 0 and 2 the same address 'a:1'"):
        find_rank(config(0, worker=["a:1", "a:2", "a:1"]))


@pytest.mark.parametrize("text", ["", " ", "x", "-1", "1.5", "1e1", "4", "9" * 5000, "\u0663"])
@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"])
def test_damaged_slurm_variables_are_refused(name, text):
    variables = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "5" if text == "4" else "3"}
    with pytest.raises(UsageError, match="^SLURM's variables do not describe the workers"):
        find_rank(variables | {name: text})


@given(st.integers(1, 1000), st.integers(1, 64))
def test_a_batch_is_divided_as_evenly_as_possible(total, count):
    parts = [list(range(total))[part(total, index, count)] for index in range(count)]
    assert [row for rows in parts for row in rows] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_without_an_image_for_each_worker_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(0)["TF_CONFIG"])
    with pytest.raises(UsageError, match="a batch of 1 has no image for each of the 2 workers"):
        small_environment("tensorlayer", batch_size=1)


def test_fit_is_refused_with_several_workers(monkeypatch):
    monkeypatch.setattr(cluster_worker, "join", lambda *arguments: None)
    monkeypatch.setenv("TF_CONFIG", config(0)["TF_CONFIG"])
    worker = cluster_worker.ClusterWorker(WorkerRank(0, 2), 1, True, True)
    train = worker.shared(lambda volumes: volumes)
    with pytest.raises(UsageError, match="call env.step"):
        train(np.zeros(1))
    with worker.step(2):
        assert train(7) == 7
