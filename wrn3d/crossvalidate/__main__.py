"""Cross-validate a training script.

    python -m wrn3d.crossvalidate --folds 5 --output runs/cv cifar_wide_resnet_tl.py --dataset x.csv

The flags of this command come before the script, the script's own after it. It trains one run for
each fold of the training and validation samples, one after the other, in OUTPUT/fold-0,
OUTPUT/fold-1, ...; runs that were stopped continue. Then it measures each run's last weights on the
fold that it has not seen, and prints and writes the scores of all folds together. A test split is
left alone. The folder's name stands for the mean of the networks:

    python -m wrn3d.predict OUTPUT FILE...
    python -m wrn3d.evaluate OUTPUT --dataset other.csv
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wrn3d.crossvalidate.measuring import measure_folds
from wrn3d.scores import results
from wrn3d.system.checks import check_count, require
from wrn3d.system.exit_status import exit_status
from wrn3d.system.target import python_arguments

OWN = ("--folds", "--fold", "--output", "--resume")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""

    def work() -> int:
        flags = _parser().parse_args(arguments)
        return crossvalidate(flags.folds, flags.output, flags.data_dir, flags.command)

    return exit_status(work)


def crossvalidate(folds: int, output: Path, data_dir: Path, command: Sequence[str]) -> int:
    """Train `command`, a script and its flags, once for each fold, and measure all together.

    Returns the exit status of the first run that fails, or 0. Raises UsageError for a command that
    cannot be started or has flags that belong to this one.
    """
    check_count("folds", folds, least=2)
    require(command, "there is nothing to start: name a script, and its flags after it")
    target, *flags = command
    own = [flag for flag in flags if flag.split("=")[0] in OWN]
    require(not own, f"{' '.join(own)} belongs before the script, or is set by this command")
    arguments = [sys.executable, *python_arguments(target), *flags, "--folds", str(folds)]
    folders = [output / f"fold-{fold}" for fold in range(folds)]
    for fold, folder in enumerate(folders):
        print(f"\nfold {fold + 1} of {folds}: {folder}", flush=True)
        resume = ["--resume"] if folder.is_dir() else []
        own_flags = ["--fold", str(fold), "--output", str(folder), "--no-evaluate", *resume]
        status = subprocess.run([*arguments, *own_flags]).returncode
        if status:
            return status if status > 0 else 128 - status
    evaluation = measure_folds(output, folders, data_dir)
    print(f"\nheld-out samples of all {folds} folds")
    results.show([evaluation])
    results.write(output, [evaluation], evaluation.as_json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m wrn3d.crossvalidate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default: 5)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help="folder for the runs, scores.json, predictions.csv and the pictures",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        metavar="PATH",
        help="folder of CIFAR-10 and CIFAR-100, to measure (default: data)",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="SCRIPT FLAG...")
    return parser


if __name__ == "__main__":
    sys.exit(main())
