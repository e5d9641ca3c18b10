"""Start a run: open its data, check that everything fits, join the other workers."""

import warnings
from collections.abc import Collection

from wrn3d.data.dataset import Dataset
from wrn3d.data.load import in_fold, known_shape, load_dataset, prepared
from wrn3d.data.windows import parsed
from wrn3d.distributed.workers import Worker, check_workers, find_rank
from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.checks import require
from wrn3d.system.portable import choose_instructions
from wrn3d.system.tensorflow_setup import (
    check_no_strategy,
    check_process,
    has_fast_bfloat16,
    import_tensorflow,
    set_threads,
)
from wrn3d.training.config import Shape, TrainingConfig
from wrn3d.training.memory_estimate import check_memory

DATA_NAMES = ("dataset", "data_dir", "class_names")  # settings that name a data set


def open_dataset(
    data: Dataset | None,
    config: TrainingConfig,
    given: Collection[str],
    spec: WideResNetSpec | None = None,
) -> Dataset:
    """Return the caller's data set, `prepared`, or load the one in the settings.

    Raises UsageError in a forked process, before it loads anything, if `data` is not a Dataset, or
    if the caller has `given` settings that name a data set, too. Also raises what `load_dataset`
    raises and, before it downloads anything, what `check_data` raises.
    """
    check_process()
    if data is None:
        if known := known_shape(config.dataset, config.volume_size):
            _check_fit(spec, config, *known)
        return load_data(config)
    require(
        isinstance(data, Dataset),
        f"data is of type {type(data).__name__}, but must be a wrn3d.Dataset: make one with "
        "wrn3d.Dataset.from_arrays(train_images, train_labels)",
    )
    both = [name for name in DATA_NAMES if name in given]
    require(
        not both,
        f"data replaces the data set that the settings name: leave out {' and '.join(both)}",
    )
    window = parsed(config.window) if config.window else None
    return prepared(in_fold(data, config.held_out), config.volume_size, window)


def load_data(config: TrainingConfig) -> Dataset:
    """Load the data set that the settings name; raise what `load_dataset` raises."""
    return load_dataset(
        config.dataset,
        config.data_dir,
        volume_size=config.volume_size,
        window=config.window,
        class_names=config.class_names,
        fold=config.held_out,
    )


def check_data(spec: WideResNetSpec, dataset: Dataset, config: TrainingConfig) -> None:
    """Raise UsageError unless network, data and settings fit each other."""
    _check_fit(spec, config, dataset.title, dataset.volume_shape, len(dataset.class_names))


def _check_fit(
    spec: WideResNetSpec | None, config: TrainingConfig, title: str, shape: Shape, classes: int
) -> None:
    if spec is not None:
        require(
            (*spec.input_shape, spec.num_classes) == (*shape, classes),
            f"spec is for volumes {spec.input_shape} and {spec.num_classes} classes, but {title} "
            f"has volumes {shape} and {classes} classes",
        )
    side = max(shape[:-1])
    require(
        config.cutout < side,
        f"cutout is {config.cutout}, but must be smaller than the longest side of the images, "
        f"{side}",
    )


def start_worker(
    spec: WideResNetSpec, dataset: Dataset, config: TrainingConfig, loaded: Dataset
) -> Worker:
    """Import TensorFlow and return this process's worker, joined with the others if there are any.

    `loaded` is the data before the validation split: several workers compare its fingerprint.

    Raises UsageError if a batch cannot be cut for the workers or into the shards, if this process
    has computed with other threads or instructions, or if the workers' settings or data differ.
    Raises NotEnoughMemoryError before it builds anything large, and WorkerError if another worker
    is lost.
    """
    rank = find_rank()
    check_workers(config.batch_size, rank.world_size, config.shards)
    check_memory(spec, config, dataset.nbytes, rank.world_size, rank.local_count)
    choose_instructions(config.portable, resizing=bool(config.volume_size or config.sizes))
    import_tensorflow()  # quietly, before the script imports it
    check_no_strategy()
    set_threads(config.shards)
    if config.precision == "bfloat16" and not has_fast_bfloat16():
        warnings.warn(
            "precision bfloat16 is no faster than float32 on this machine, which has no known "
            "bfloat16 instructions (AVX512_BF16, AMX, or a GPU's): prefer float32",
            stacklevel=3,  # the line that makes the CNNEnv
        )
    synchronised, single_depth = config.batch_norm == "synchronised", spec.input_shape[0] == 1
    if rank.world_size == 1:
        if config.shards == 1:
            return Worker()
        from wrn3d.distributed.shards import Sharding  # which imports TensorFlow

        return Worker(Sharding(config.shards, synchronised))
    from wrn3d.distributed.cluster_worker import ClusterWorker  # which imports TensorFlow, too

    worker = ClusterWorker(rank, config.shards, synchronised, single_depth)
    shared = config.settings | {"data_dir": "", "dataset": "", "init": ""}
    worker.check_same_everywhere(f"{shared} {loaded.fingerprint}")
    return worker
