"""Check that this machine computes rightly, and whether it computes the recorded bits.

    python -m wrn3d.verify

It computes every op and gradient, compares them with a float64 reference, and trains small networks
with both front ends. It takes about a minute on two cores.
"""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import require
from wrn3d.system.flags import run_command
from wrn3d.system.terminal import Progress, fitted
from wrn3d.system.words import counted
from wrn3d.verify import records
from wrn3d.verify.records import Digests

SHARDS = 2  # of the runs: one thread for each op
WRONG = 1  # exit status
NAMED = 5  # wrong checks, in the last lines


@dataclass(frozen=True)
class VerifyConfig:
    """What to check, and whether to record it."""

    quick: bool = False
    """Check some ops and one run only, in a few seconds."""
    portable: bool = False
    """Compute as runs with --portable do: one record, in float32, for every x86 CPU with AVX2."""
    record: Path | None = None
    """Also write the digests into this folder, as the record of this CPU; in a clone it is
    wrn3d/verify/records."""

    def __post_init__(self) -> None:
        require(not (self.quick and self.record), "record needs every check: leave quick out")


@dataclass
class Report:
    """The results so far: digests, names of wrong checks and of those with other bits."""

    recorded: Digests | None
    digests: Digests = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def add(self, name: str, is_right: bool, finding: str, digests: dict[str, str]) -> str:
        """Add a check's digests, {output: digest}, and return its line."""
        self.digests[name] = digests
        if not is_right:
            self.wrong.append(name)
        line = f"{'right' if is_right else 'WRONG'}  {name}: {finding}"
        if self.recorded is None:
            return line
        before = self.recorded.get(name)
        if before is None:
            return f"{line}; not in the record"
        changed = [name for name in before | digests if before.get(name) != digests.get(name)]
        if not changed:
            return f"{line}; the same bits"
        self.other.append(f"{name} ({changed[0]})")
        return f"{line}; OTHER BITS than recorded in: {', '.join(changed)}"

    def verdict(self) -> str:
        """Return the last lines: what is wrong, and since which op the bits differ."""
        count = counted(len(self.digests), "check")
        named = "; ".join(self.wrong[:NAMED]) + ("; ..." if len(self.wrong) > NAMED else "")
        lines = [
            f"wrong in {len(self.wrong)} of {count}: {named}"
            if self.wrong
            else f"right in all {count}"
        ]
        if self.recorded is None:
            lines.append(f"no record for this CPU: its digest is {records.total(self.digests)}")
        elif self.other:
            lines.append(f"other bits than recorded since {self.other[0]}")
        else:
            lines.append("the same bits as recorded")
        return "\n".join(lines)


def main() -> int:
    """Verify; return 0, 1 if an op is wrong or recorded bits differ, or `exit_status`'s."""
    leave_others()
    return run_command(verify, VerifyConfig, "wrn3d.verify", __doc__)


def verify(config: VerifyConfig) -> int:
    """Do and print the checks and write the record; return the exit status. Raises UserError."""
    prepare(config.portable)
    decisive = records.this_machine(config.portable)
    name = records.file_name(decisive)
    report = Report(records.find(decisive))
    print(fitted(machine.sentence(machine.describe())))
    print(f"record  {name}{' (not found)' if report.recorded is None else ''}", flush=True)
    if config.record:
        records.make_folder(config.record)  # before the checks, which take a minute
    take(config, report)
    print(f"\n{report.verdict()}")
    if report.wrong:
        return WRONG
    if config.record:
        print(f"recorded in {records.write(config.record, decisive, report.digests)}")
        return 0
    if report.recorded is None and not config.quick:
        print("to contribute it: run again with --record FOLDER, and send the file that it writes")
    return WRONG if report.other else 0


def prepare(portable: bool) -> None:
    """Start TensorFlow for the CPU alone, with one thread for each op; raises UsageError."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from wrn3d.system.portable import choose_instructions
    from wrn3d.system.tensorflow_setup import be_deterministic, import_tensorflow, set_threads

    choose_instructions(portable)
    import_tensorflow()
    # It warns that several networks in a process are traced, one by one.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    set_threads(SHARDS)
    be_deterministic(0)


def take(config: VerifyConfig, report: Report) -> None:
    """Do the checks, the quick ones or all, and print a line for each."""
    from wrn3d.system.machine import cpu_has_bfloat16
    from wrn3d.verify.cases import operations_in
    from wrn3d.verify.trainings import QUICK, runs_in

    in_bfloat16 = cpu_has_bfloat16() and not config.portable
    precisions = ("float32", "bfloat16") if in_bfloat16 else ("float32",)
    operations = [one for one in operations_in(precisions) if one.quick or not config.quick]
    runs = runs_in(precisions, config.portable)
    if config.quick:
        runs = {QUICK: runs[QUICK]}
    with Progress(len(operations) + len(runs), "verifying") as progress:
        for line in chain(_operations(operations, report), _runs(runs, report)):
            progress.print(fitted(line))
            progress.advance()


def _operations(operations: list, report: Report) -> Iterator[str]:
    from wrn3d.verify.checking import check

    for operation in operations:
        finding = check(operation)
        digests = {name: records.digest(array) for name, array in finding.outputs.items()}
        yield report.add(operation.name, finding.is_right, finding.sentence, digests)


def _runs(planned: dict, report: Report) -> Iterator[str]:
    import tensorflow as tf

    from wrn3d.verify.checking import last_line
    from wrn3d.verify.trainings import train

    for name, settings in planned.items():
        try:
            runs = train(settings, name.startswith("volumes"))
        except (tf.errors.OpError, FloatingPointError) as error:
            yield report.add(f"training on {name}", False, f"it fails ({last_line(error)})", {})
            continue
        (one, first), (other, second) = runs.items()
        differing = [moment for moment in first if first[moment] != second[moment]]
        finding = (
            f"{one} and {other} differ since {differing[0]}"
            if differing
            else f"{one} and {other} have the same weights"
        )
        yield report.add(f"training on {name}", not differing, finding, first)


if __name__ == "__main__":
    sys.exit(main())
