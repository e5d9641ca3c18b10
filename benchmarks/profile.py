"""Show where the time of a step goes, in this project and in PyTorch, by kinds of ops.

    python -m benchmarks.profile --case 16-4-b128 --precision bfloat16
    python -m benchmarks.profile --case 16-1-b1      # evaluation of one image

Cases of the evaluation are evaluated, the others trained. Prints core-milliseconds: an op counts
with all cores that it may take, one in shards, or fewer where ops run side by side. The wall time
is without the profiler.
"""

import argparse
import importlib
import json
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain, pairwise
from pathlib import Path
from statistics import median

from benchmarks.cases import CASES, EVALUATED, Case
from benchmarks.contenders import CONTENDERS
from benchmarks.processes import started
from wrn3d.network.wide_resnet import PRECISIONS
from wrn3d.system import machine
from wrn3d.system.reporting import markdown_table
from wrn3d.system.tensorflow_setup import set_threads

WARM_UP, STEPS = 4, {"training": 6, "evaluation": 60}
NAMES = ("tensorlayer", "tensorlayer-2", "torch-2d", "torch-2d-compiled")
BOTH = "convolution, both gradients"
# {kind: names of its ops in TensorFlow and PyTorch}; an op belongs to the first kind that fits.
KINDS = {
    "convolution, input gradient": r"backpropinput|backward_data",
    "convolution, filter gradient": r"backpropfilter|backward_weights",
    BOTH: r"^(aten|mkldnn)::\w*convolution_backward",  # split later
    "batch norm, gradient": r"batchnormgrad|batch_norm\w*backward",
    "ReLU, gradient": r"relugrad|threshold_backward",
    "update": r"resourceapply|assign|_foreach_|_fused_sgd|optimizer",
    "convolution": r"conv[23]d|^(aten|mkldnn)::\w*convolution",
    "batch norm": r"batch_?norm",
    "ReLU": r"relu|clamp_min",
    "padding and copies": r"pad|slice|cast|copy|transpose|reshape|concat|pack|split|fill|zero"
    r"|clone|contiguous|squeeze|convolution",
    "matrix products": r"matmul|::(add)?mm$",  # some filter gradients, and the last layer
    "additions": r"add",
}
REST, WALL = "rest", "wall"
Times = dict[str, float]  # {name of an op, or kind: milliseconds of a step}


def grouped(ops: Mapping[str, float]) -> Times:
    """Return {kind: sum} of {name of an op: number}."""
    sums: Times = defaultdict(float)
    for name, value in ops.items():
        kinds = (kind for kind, names in KINDS.items() if re.search(names, name.lower()))
        sums[next(kinds, REST)] += value
    return sums


def of_tensorflow(run: Callable[[], object], steps: int) -> Times:
    """Return {op: milliseconds of a step} by TensorFlow's profiler; `run` takes `steps` of them."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    ops: Times = defaultdict(float)
    for plane in space.planes:
        for event in chain.from_iterable(line.events for line in plane.lines):
            name = plane.event_metadata[event.metadata_id].name  # C++'s functions have "::"
            if op := re.fullmatch(r"[^: ]+:(?!\w*PartitionedCall)(\w+)(#.*)?", name):
                ops[op[1]] += event.duration_ps / 1e9 / steps
    return ops


def of_pytorch(run: Callable[[], object], steps: int) -> Times:
    """Return {op: milliseconds of a step} by PyTorch's profiler; oneDNN's log splits gradients."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    ops = {event.key: event.self_cpu_time_total / 1e3 / steps for event in profile.key_averages()}
    if not (combined := [name for name in ops if BOTH in grouped({name: 1})]):
        return ops
    parts = {"backward_data": 0.0, "backward_weights": 0.0}
    with tempfile.TemporaryFile("w+") as log:
        stdout = os.dup(1)
        os.dup2(log.fileno(), 1)  # oneDNN writes past Python's sys.stdout
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            run()
        os.dup2(stdout, 1)
        log.seek(0)
        for fields in (line.strip().split(",") for line in log):
            for part in parts.keys() & fields:
                parts[part] += float(fields[-1])
    both = sum(map(ops.pop, combined))
    return ops | {part: both * value / sum(parts.values()) for part, value in parts.items()}


def measure(name: str, case: Case, precision: str) -> Times:
    """Return {kind: core-milliseconds of a step} of a contender, and WALL."""
    contender = CONTENDERS[name]
    if contender.is_rival:
        importlib.import_module("torch._inductor.config").cpp.enable_kernel_profile = True
    else:
        set_threads(contender.shards)
    work = _work(case.name)
    program = contender.makers[work](case, precision)

    def run(steps: int = STEPS[work]) -> list[float]:
        ends = [time.perf_counter()]
        program.run(lambda: ends.append(time.perf_counter()) or len(ends) > steps)
        return [1e3 * (end - start) for start, end in pairwise(ends)]

    run(WARM_UP)
    wall, cores = median(run()), machine.usable_cores()
    ops = (of_pytorch if contender.is_rival else of_tensorflow)(run, STEPS[work])
    each = min(1 if contender.shards > 1 else cores, cores * wall / sum(ops.values()))
    return grouped({name: each * value for name, value in ops.items()}) | {WALL: wall}


def _work(case: str) -> str:
    return "evaluation" if case in EVALUATED else "training"


def table(columns: Mapping[str, Times]) -> str:
    """Return {contender: {kind: milliseconds}} as Markdown."""
    rows = [
        [kind, *(f"{column.get(kind, 0):.1f}" for column in columns.values())]
        for kind in (*KINDS, REST, WALL)
        if any(kind in column for column in columns.values())
    ]
    return markdown_table(["", *(CONTENDERS[name].title for name in columns)], rows)


def main() -> None:
    """Profile one contender as JSON, or all in processes of their own as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, default="16-4-b128")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--only", choices=NAMES, help="print one contender's as JSON")
    chosen, columns = parser.parse_args(), {}
    if chosen.only:
        return print(json.dumps(measure(chosen.only, CASES[chosen.case], chosen.precision)))
    work = _work(chosen.case)
    for name in (name for name in NAMES if work in CONTENDERS[name].makers):
        command = [sys.executable, "-m", "benchmarks.profile", *sys.argv[1:], "--only", name]
        with started(f"profiling {name}", command) as results:
            columns[name] = next(results)
    print(f"{CASES[chosen.case].title}, {chosen.precision}\n\n{table(columns)}")


if __name__ == "__main__":
    main()
