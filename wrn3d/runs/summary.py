"""What a run says of itself before it begins."""

from wrn3d.distributed.workers import find_rank
from wrn3d.network.parameters import parameter_count
from wrn3d.runs.events import has_tensorboard
from wrn3d.system import memory, tensorflow_setup
from wrn3d.training import memory_estimate
from wrn3d.training.config import LENGTH_FIELDS, NETWORK_FIELDS, TrainingConfig

# Of the settings, only what is not as usual is said, but these always, and others in other lines.
ALWAYS_TOLD = ("batch_size", "learning_rate", "seed")
TOLD_ELSEWHERE = (
    *NETWORK_FIELDS,
    *LENGTH_FIELDS,
    "dataset",
    "data_dir",
    "validation",
    "evaluate",
    "mirror",
)
# What settings need to have an effect: the flag, and whether a configuration has it.
AUGMENT = "--augment", lambda config: config.augment
STEPS = "--schedule steps", lambda config: config.schedule == "steps"
EVALUATE = "--evaluate", lambda config: config.evaluate
FLIPS = (
    "--augment or --mirror",
    lambda config: config.augment or (config.mirror and config.evaluate),
)
WORKERS = "several workers", lambda config: find_rank().world_size > 1
NEEDED = {
    "crop_padding": AUGMENT,
    "alternate_flips": AUGMENT,
    "cutout": AUGMENT,
    "batch_norm": WORKERS,
    "flip_axes": FLIPS,
    "milestones": STEPS,
    "milestone_factor": STEPS,
    "mirror": EVALUATE,
}


def describe(environment, config):
    """What is about to be trained, in lines."""
    spec, dataset = environment.spec, environment.dataset
    total = config.total_iterations(environment.num_examples)
    versions = ", ".join(f"{name} {number}" for name, number in tensorflow_setup.versions().items())
    sides = "x".join(map(str, spec.input_shape))
    validation = f", {count:,} validation" if (count := len(dataset.validation_labels)) else ""
    needed = memory_estimate.training_memory(spec, config, dataset.nbytes, environment.worker.count)
    epochs = total * config.batch_size / environment.num_examples
    usual = TrainingConfig()
    unusual = {
        name: value for name, value in config.settings.items() if value != getattr(usual, name)
    }
    idle = [
        name for name, (_, is_there) in NEEDED.items() if name in unusual and not is_there(config)
    ]
    options = [
        _told(name, value)
        for name, value in config.settings.items()
        if name in ALWAYS_TOLD or (name in unusual and name not in (*TOLD_ELSEWHERE, *idle))
    ]
    strides = "" if spec.strides == usual.strides else f", {_told('strides', spec.strides)}"
    lines = [
        f"network   {spec.name}, {spec.shortcut} shortcut, dropout {spec.dropout:g}{strides}: "
        f"{parameter_count(spec):,} parameters",
        f"data      {dataset.title} from {dataset.origin}: {len(dataset.train_labels):,} training"
        f"{validation} and {len(dataset.test_labels):,} test volumes of {sides}, "
        f"{spec.num_classes} classes",
        f"training  {environment.front_end}, {total:,} iterations ({epochs:.3g} epochs), "
        f"{', '.join(options)}",
        f"versions  {versions}",
        f"device    {tensorflow_setup.device()}",
        f"memory    about {memory.in_gib(needed.total)} at most, "
        f"{memory.in_gib(memory.available_memory())} are free",
    ]
    worker = environment.worker
    if worker.count > 1:
        rows = worker.rows(config.batch_size)
        lines.append(
            f"workers   {worker.count}, this one with {rows.stop - rows.start} of a "
            f"batch's {config.batch_size} images"
        )
    if idle:
        lines.append(
            "unused    "
            + ", ".join(f"{_told(name, unusual[name])} (needs {NEEDED[name][0]})" for name in idle)
        )
    if config.output:
        tensorboard = (
            "events for TensorBoard"
            if has_tensorboard()
            else "and where it is installed (pip install tensorboard) events for TensorBoard"
        )
        lines.append(
            f"output    {config.output}: checkpoints, log.csv, epochs.csv, curves.png, "
            f"{tensorboard}"
        )
    return lines


def _told(name, value):
    """A setting in words."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words
    values = value if isinstance(value, tuple) else [value]
    return " ".join(
        [words, *(f"{one:g}" if isinstance(one, float) else str(one) for one in values)]
    )
