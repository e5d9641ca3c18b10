"""What training a network will take of the memory, before it is tried."""

from dataclasses import dataclass
from math import prod

from wrn3d.network.parameters import activation_count, network_parameters
from wrn3d.system.errors import NotEnoughMemoryError
from wrn3d.system.machine import cpu_has_bfloat16, has_gpu
from wrn3d.system.memory import available_memory, in_gib, resident_memory

# Bytes of a process that has imported all frameworks, and the room that its work takes (Linux).
IMPORTED = 780_000_000


@dataclass(frozen=True)
class TrainingMemory:
    """About what training holds at most, in bytes; docs/design.md has it beside what was measured.

    `fixed` does not depend on the batch: the process, the data, weights, their gradients and
    momentum. `per_sample` is each layer's output, which is kept for the gradients.
    """

    fixed: int
    per_sample: int
    batch_size: int

    @property
    def total(self) -> int:
        return self.fixed + self.per_sample * self.batch_size


def training_memory(spec, config, data_bytes, workers=1) -> TrainingMemory:
    """The estimate for a network, a TrainingConfig and a data set of so many bytes: for each of
    several workers, which share a batch."""
    weights = 4 * sum(prod(parameter.shape) for parameter in network_parameters(spec))
    # Where the CPU has no instructions for bfloat16, gradients keep the float32 they compute in.
    each = 2 if config.precision == "bfloat16" and cpu_has_bfloat16() else 4
    copies = 2 + bool(config.momentum) + 2 * (config.optimizer == "adam") + bool(config.averaging)
    return TrainingMemory(
        IMPORTED + data_bytes + weights * copies,
        activation_count(spec) * each // workers,
        config.batch_size,
    )


def check_memory(spec, config, data_bytes, workers=1, here=1):
    """Raise NotEnoughMemoryError, which names the batch size that fits, where it is too little for
    one of `workers`, of whom so many are `here`.

    Where there is a GPU, its memory decides, which is not known before TensorFlow is imported."""
    if has_gpu():
        return
    needed = training_memory(spec, config, data_bytes, workers)
    usable = available_memory() / here + resident_memory()  # what this process has is part of it
    if needed.total <= usable:
        return
    fitting = int((usable - needed.fixed) // needed.per_sample)
    raise NotEnoughMemoryError(
        f"training {spec.name} with batches of {config.batch_size} takes about "
        f"{in_gib(needed.total)} of memory{' in each worker' if workers > 1 else ''}, but "
        f"{in_gib(usable)} are free{' for each' if here > 1 else ''}: "
        + (
            f"batch_size {fitting} would fit"
            if fitting > 0
            else "not even one image fits, so choose a smaller network"
        )
    )
