"""Estimate the memory that training a network takes, and refuse what would not fit."""

from dataclasses import dataclass
from math import prod

from wrn3d.network.parameters import activation_count, network_parameters
from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.errors import NotEnoughMemoryError
from wrn3d.system.machine import cpu_has_bfloat16, has_gpu
from wrn3d.system.memory import available_memory, in_gib, resident_memory
from wrn3d.training.config import TrainingConfig

# Bytes of a process that has imported all frameworks, with its working memory (Linux).
IMPORTED = 780_000_000


@dataclass(frozen=True)
class TrainingMemory:
    """An estimate of training's peak memory in bytes; docs/design.md has measurements.

    `fixed` does not depend on the batch: the process, the data, the weights, their gradients and
    momentum. `per_sample` covers the outputs of all layers, which the gradients need.
    """

    fixed: int
    per_sample: int
    batch_size: int

    @property
    def total(self) -> int:
        """Bytes for the whole batch."""
        return self.fixed + self.per_sample * self.batch_size


def training_memory(
    spec: WideResNetSpec, config: TrainingConfig, data_bytes: int, workers: int = 1
) -> TrainingMemory:
    """Return the estimate for one of `workers` that share a batch; the data take `data_bytes`."""
    weights = 4 * sum(prod(parameter.shape) for parameter in network_parameters(spec))
    # Without bfloat16 instructions convolutions compute in float32 and keep it for the gradients.
    each = 2 if config.precision == "bfloat16" and cpu_has_bfloat16() else 4
    copies = 2 + bool(config.momentum) + 2 * (config.optimizer == "adam") + bool(config.averaging)
    return TrainingMemory(
        IMPORTED + data_bytes + weights * copies,
        activation_count(spec) * each // workers,
        config.batch_size,
    )


def check_memory(
    spec: WideResNetSpec, config: TrainingConfig, data_bytes: int, workers: int = 1, here: int = 1
) -> None:
    """Raise NotEnoughMemoryError if one worker would not fit; `here` workers share this machine.

    The error names the largest batch size that fits. With a GPU nothing is checked: the limit is
    the GPU's memory, which is unknown before TensorFlow is imported.
    """
    if has_gpu():
        return
    needed = training_memory(spec, config, data_bytes, workers)
    # `needed` includes the memory that this process already has.
    usable = available_memory() / here + resident_memory()
    if needed.total <= usable:
        return
    fitting = int((usable - needed.fixed) // needed.per_sample) // config.shards * config.shards
    least = "one image fits" if config.shards == 1 else f"batches of {config.shards} fit"
    advice = (
        f"batch_size {fitting} would fit"
        if fitting > 0
        else f"not even {least}, so choose a smaller network"
    )
    raise NotEnoughMemoryError(
        f"training {spec.name} with batches of {config.batch_size} takes about "
        f"{in_gib(needed.total)} of memory{' in each worker' if workers > 1 else ''}, but "
        f"{in_gib(usable)} are free{' for each' if here > 1 else ''}: {advice}"
    )
