"""Divide this machine's cores, GPUs and ports between workers."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from wrn3d.distributed.workers import part


def cores_of(index: int, count: int) -> set[int]:
    """Return the cores of this process that worker `index` of `count` may use (Linux).

    With fewer cores than workers, several workers share a core.
    """
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[part(len(cores), index, count)]) or {cores[index * len(cores) // count]}


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, without starting a framework.

    They are named by CUDA_VISIBLE_DEVICES, or else numbered as Linux's driver lists them.
    """
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def free_ports(count: int) -> list[int]:
    """Return different free ports of the loopback address."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
