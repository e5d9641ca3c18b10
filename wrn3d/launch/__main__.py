"""Start several workers of a run on this machine.

    python -m wrn3d.launch -n 2 cifar_wide_resnet_tl.py --dataset digits   (a file)
    python -m wrn3d.launch -n 2 cifar_wide_resnet_tl --dataset digits      (a module)

The launcher's flags come before the script, and the script's own flags after it. Each worker gets
its share of the cores, and a GPU of its own if there are any. Each line that a worker prints begins
with its number. When one worker fails, the launcher ends the others.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from wrn3d.launch.processes import run_workers
from wrn3d.launch.resources import visible_gpus
from wrn3d.system.checks import check_count, require
from wrn3d.system.errors import WorkerError
from wrn3d.system.exit_status import exit_status
from wrn3d.system.target import python_arguments
from wrn3d.system.words import counted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""

    def parse_and_launch() -> int:
        flags = _parser().parse_args(arguments)
        return launch(flags.workers, flags.restarts, flags.command)

    return exit_status(parse_and_launch)


def launch(workers: int, restarts: int, command: Sequence[str]) -> int:
    """Run `command`, a script or module and its flags, in `workers` processes.

    If a worker is lost, starts all of them again, at most `restarts` times, with --resume if the
    run has its folder. Returns the exit status of the worker that ended the run, or 128 + the
    number of the signal that stopped the launcher. Raises UsageError for a command that cannot be
    started, and WorkerError for a worker that a signal killed.
    """
    check_count("workers", workers)
    check_count("restarts", restarts, least=0)
    require(command, "there is nothing to start: name a script, and its flags after it")
    target, *flags = command
    arguments = [*python_arguments(target), *flags]
    gpus = visible_gpus()
    require(
        not gpus or workers <= len(gpus),
        f"{workers} workers need as many GPUs, but only {len(gpus)} can be seen: start fewer "
        "workers, or all on the CPU (CUDA_VISIBLE_DEVICES=)",
    )
    folder = _run_folder(flags)
    require(
        not restarts or folder,
        "a restart continues from the run's checkpoints: add --output to the script's flags",
    )
    for left in reversed(range(restarts + 1)):
        outcome = run_workers(arguments, workers)
        if not (outcome.lost and left):
            break
        if os.path.isdir(folder) and "--resume" not in arguments:
            arguments.append("--resume")
        how = "from the last checkpoint" if "--resume" in arguments else "anew"
        print(
            f"restarted {counted(workers, 'worker')} {how}, since "
            f"{outcome.killed or 'one had lost another'}; {counted(left - 1, 'more time')} at most",
            flush=True,
        )
    if outcome.killed:
        raise WorkerError(
            f"{outcome.killed}: start all workers again, with --resume if the run has a folder"
        )
    return outcome.status


def _run_folder(flags: Sequence[str]) -> str:
    """Return the folder that the last --output of a script's flags names, or ""."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", nargs="?", default="", const="")
    return parser.parse_known_args(flags)[0].output


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wrn3d.launch",
        usage="%(prog)s [-h] [-n WORKERS] [--restarts RESTARTS] script ...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-n", "--workers", type=int, default=2, help="number of workers to start (default: 2)"
    )
    parser.add_argument(
        "--restarts",
        type=int,
        default=0,
        help="how often to restart all workers after one died or hung, with --resume if the run "
        "has its folder; needs the script's flag --output (default: 0)",
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="script ...",
        help="the script, as a file or a module, and its flags",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
