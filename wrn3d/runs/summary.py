"""Describe a run before it starts: network, data, settings, machine, memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wrn3d.data.dataset import Dataset
from wrn3d.data.windows import texts
from wrn3d.distributed.workers import find_rank
from wrn3d.network.parameters import parameter_count
from wrn3d.network.spec import PAPER_STRIDES, WideResNetSpec
from wrn3d.runs.config import RunConfig
from wrn3d.runs.events import has_tensorboard
from wrn3d.runs.lines import is_tested
from wrn3d.system import memory, tensorflow_setup
from wrn3d.system.errors import visible
from wrn3d.system.machine import has_gpu, usable_cores
from wrn3d.system.words import counted, three_digits
from wrn3d.training import memory_estimate
from wrn3d.training.config import LENGTH_FIELDS, NETWORK_FIELDS, TrainingConfig
from wrn3d.training.environment import TrainingEnvironment
from wrn3d.training.evaluation import accuracy_says_little

MOST_CLASSES = 10  # in one line
# The training line shows these settings always, and others only if they differ from the default.
ALWAYS_SHOWN = ("batch_size", "learning_rate", "seed")
SHOWN_ELSEWHERE = (
    *NETWORK_FIELDS,
    *LENGTH_FIELDS,
    "dataset",
    "data_dir",
    "class_names",
    "init",
    "freeze",
    "window",
    "validation",
    "evaluate",
    "mirror",
)
# Settings that need another one: the other one, and a check that the configuration has it.
AUGMENT = "--augment", lambda config: config.augment
STEPS = "--schedule steps", lambda config: config.schedule == "steps"
REQUIREMENTS = {
    "crop_padding": AUGMENT,
    "alternate_flips": AUGMENT,
    "cutout": AUGMENT,
    "batch_norm": (
        "--shards 2 or more, or several workers",
        lambda config: config.shards > 1 or find_rank().world_size > 1,
    ),
    "flip_axes": (
        "--augment or --mirror",
        lambda config: config.augment or (config.mirror and config.evaluate),
    ),
    "milestones": STEPS,
    "milestone_factor": STEPS,
    "mirror": ("--evaluate", lambda config: config.evaluate),
}


def describe(environment: TrainingEnvironment, config: RunConfig) -> list[str]:
    """Return the lines that a run prints before it starts."""
    unused = [
        name
        for name, (_, is_met) in REQUIREMENTS.items()
        if name in _changed(config) and not is_met(config)
    ]
    versions = (f"{name} {number}" for name, number in tensorflow_setup.versions().items())
    needed = memory_estimate.training_memory(
        environment.spec, config, environment.dataset.nbytes, environment.worker.count
    )
    lines = [
        _network_line(environment.spec, config.freeze),
        _data_line(environment),
        *_class_lines(environment.dataset),
        _training_line(environment, config, unused),
        f"versions  {', '.join(versions)}",
        f"device    {tensorflow_setup.device()}",
        f"memory    about {memory.in_gib(needed.total)} at most, "
        f"{memory.in_gib(memory.available_memory())} are free",
    ]
    if environment.initial.note:
        lines.insert(1, f"init      {environment.initial.note}")
    if environment.worker.count > 1:
        rows = environment.worker.rows(config.batch_size)
        lines.append(
            f"workers   {environment.worker.count}, this one trains on {rows.stop - rows.start} of "
            f"the {config.batch_size} images in a batch"
        )
    needs = [_setting(name, config) + f" (needs {REQUIREMENTS[name][0]})" for name in unused]
    if config.evaluate and not is_tested(config, environment.dataset):
        needs.append("evaluate (needs a test split)")
    needs += _idle_cores(config.shards)
    if needs:
        lines.append(f"unused    {', '.join(needs)}")
    if config.output:
        tensorboard = "" if has_tensorboard() else " if it is installed (pip install tensorboard)"
        lines.append(
            f"output    {config.output}: checkpoints, log.csv, epochs.csv, curves.png, TensorBoard "
            f"events{tensorboard}"
        )
    return lines


def _changed(config: RunConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults."""
    default = TrainingConfig().settings
    return {name: value for name, value in config.settings.items() if value != default[name]}


def _idle_cores(shards: int) -> list[str]:
    """Describe this machine's cores that have no shard to compute, if there are any."""
    rank = find_rank()
    idle = usable_cores() - shards // rank.world_size * rank.local_count
    if shards == 1 or idle <= 0 or has_gpu():
        return []
    return [f"{counted(idle, 'core')} (needs more --shards, which changes the result)"]


def _network_line(spec: WideResNetSpec, freeze: Sequence[str]) -> str:
    strides = "" if spec.strides == PAPER_STRIDES else f", {_setting('strides', spec)}"
    frozen = f", frozen: {' '.join(freeze)}" if freeze else ""
    return (
        f"network   {spec.name}, {spec.shortcut} shortcut, dropout {spec.dropout:g}{strides}: "
        f"{parameter_count(spec):,} parameters{frozen}"
    )


def _data_line(environment: TrainingEnvironment) -> str:
    spec, dataset = environment.spec, environment.dataset
    count = len(dataset.validation_labels)
    validation = f", {count:,} validation" if count else ""
    return (
        f"data      {dataset.title} from {dataset.origin}: {len(dataset.train_labels):,} training"
        f"{validation} and {len(dataset.test_labels):,} test volumes of "
        f"{'x'.join(map(str, spec.input_shape))} (D, H, W, C), {spec.num_classes} classes"
        f"{''.join(_data_notes(dataset))}"
    )


def _class_lines(dataset: Dataset) -> Iterator[str]:
    """Yield how many training volumes each of a few classes has, if they are two or uneven."""
    if accuracy_says_little(dataset) and len(dataset.class_names) <= MOST_CLASSES:
        named = zip(dataset.class_names, dataset.class_counts.tolist(), strict=True)
        yield "classes   " + ", ".join(f"{visible(name)} {count:,}" for name, count in named)


def _data_notes(dataset: Dataset) -> Iterator[str]:
    """Yield the groups of each split, and what is worth knowing about voxels but for bytes."""
    groups = [set(listing.groups.tolist()) - {""} for listing in dataset.listings.values()]
    if any(groups):
        yield f", {' + '.join(f'{len(one):,}' for one in groups)} groups"
    if dataset.spacing:
        yield f", voxels of {'x'.join(f'{one:.3g}' for one in dataset.spacing)} mm"
    if dataset.window:
        yield f", intensities {' to '.join(texts(dataset.window))} as 256 levels"
    elif (kind := dataset.train_volumes.dtype) != np.uint8:
        yield f", numbers kept as {kind}"


def _training_line(environment: TrainingEnvironment, config: RunConfig, unused: list[str]) -> str:
    total = config.total_iterations(environment.num_examples)
    epochs = total * config.batch_size / environment.num_examples
    shown = {*ALWAYS_SHOWN, *_changed(config).keys() - {*SHOWN_ELSEWHERE, *unused}}
    settings = [_setting(name, config) for name in config.settings if name in shown]
    return (
        f"training  {environment.front_end}, {counted(total, 'iteration')} "
        f"({three_digits(epochs)} epoch{'' if epochs == 1 else 's'}), "
        f"{', '.join(settings)}"
    )


def _setting(name: str, settings: Any) -> str:
    """Return a setting's name and value as text; `settings` is a configuration or a spec."""
    words, value = name.replace("_", " "), getattr(settings, name)
    if isinstance(value, bool):
        return words
    values = value if isinstance(value, tuple) else [value]
    texts = [f"{one:g}" if isinstance(one, float) else str(one) for one in values]
    return " ".join([words, *(texts or ["none"])])
