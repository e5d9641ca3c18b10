"""The command, in real processes and by its parts."""

import sys

import pytest

from tests.support.processes import FROM_ANYWHERE, run_command, run_python
from wrn3d.system import machine
from wrn3d.system.errors import UsageError
from wrn3d.verify import records
from wrn3d.verify.__main__ import Report, VerifyConfig

PORTABLE = pytest.mark.skipif(
    sys.platform != "linux" or not {"avx2", "fma"} <= machine.cpu_flags(),
    reason="needs an x86 CPU with AVX2 and Linux",
)
RENEW = """
The bits of this machine differ from its record. If no change of bits was intended, find the cause.
Otherwise say so in CHANGELOG.md and renew the records: CONTRIBUTING.md, "Test", has the commands.
"""
FAULT = """
import sys

from wrn3d.system.tensorflow_setup import import_tensorflow

import_tensorflow()
import tensorflow as tf

from wrn3d.network import convolution

convolve = convolution.convolve

def faulty(x, kernel, *arguments):
    @tf.custom_gradient
    def same(kernel):  # its gradient's last filters keep what memory held
        return tf.identity(kernel), lambda g: tf.concat([g[..., :-1], 3e38 + 0 * g[..., -1:]], -1)

    return convolve(x, same(kernel) if len(x.shape) == 5 else kernel, *arguments)

convolution.convolve = faulty
from wrn3d.verify.__main__ import main

sys.exit(main())
"""


@pytest.mark.parametrize(
    "portable", [False, pytest.param(True, marks=[pytest.mark.slow, PORTABLE])]
)
def test_this_machine_computes_rightly_and_the_recorded_bits(portable):
    flags = ["--portable"] if portable else []
    # Not a fork: TensorFlow must not be imported before its instructions are chosen.
    process = run_python("-m", "wrn3d.verify", "--quick", *flags)
    said = process.stdout
    assert "\nWRONG" not in said and "\nright in all " in said
    assert "TensorLayer and Keras have the same weights" in said
    assert "other bits than recorded" not in said, f"{said}\n{RENEW}"
    assert process.returncode == 0, said + process.stderr
    path = records.FOLDER / records.file_name(records.this_machine(portable))
    assert ("\nthe same bits as recorded\n" in said) == path.is_file()


@pytest.mark.slow
def test_a_fault_is_named(tmp_path):
    script = tmp_path / "faulty.py"
    script.write_text(FAULT)
    process = run_command(script, "--quick", env=FROM_ANYWHERE)
    assert process.returncode == 1, process.stderr
    wrong = [line for line in process.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong and all("convolution 3x3x3 on volumes" in line for line in wrong)
    assert all("gradient of the kernel: error 3.00e+38" in line for line in wrong)
    assert f"\nwrong in {len(wrong)} of " in process.stdout


@pytest.mark.slow
def test_a_record_is_written_and_found_again(tmp_path, monkeypatch):
    process = run_command("-m", "wrn3d.verify", "--record", tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    [path] = tmp_path.iterdir()
    assert process.stdout.endswith(f"recorded in {path}\n")
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    digests = records.find(records.this_machine())
    assert f"training on {'volumes, Muon'}, float32" in digests


def test_a_record_needs_every_check(tmp_path):
    with pytest.raises(UsageError, match="^record needs every check: leave quick out$"):
        VerifyConfig(quick=True, record=tmp_path)


RECORDED = {"a": {"result": "0", "gradient": "1"}, "b": {"result": "2"}, "c": {"result": "3"}}


def added(recorded, **checks):
    """Return a Report, and the ends of its lines, of {check: (is right, digests)}."""
    report = Report(recorded)
    return report, [
        report.add(name, is_right, "found", digests).split("found")[-1]
        for name, (is_right, digests) in checks.items()
    ]


def test_the_same_bits_are_said_to_be():
    report, ends = added(RECORDED, a=(True, RECORDED["a"]), b=(True, RECORDED["b"]))
    assert ends == ["; the same bits"] * 2
    assert report.verdict() == "right in all 2 checks\nthe same bits as recorded"


def test_the_first_op_with_other_bits_is_named():
    changed = {"result": "0", "gradient": "7"}
    report, ends = added(
        RECORDED, a=(True, changed), b=(True, {"result": "7"}), d=(True, {"result": "4"})
    )
    assert ends == [
        "; OTHER BITS than recorded in: gradient",
        "; OTHER BITS than recorded in: result",
        "; not in the record",
    ]
    assert report.verdict().endswith("other bits than recorded since a (gradient)")


def test_an_op_that_fails_has_not_the_recorded_bits():
    report, ends = added(RECORDED, a=(False, {}))
    assert ends == ["; OTHER BITS than recorded in: result, gradient"]
    assert report.verdict().endswith("other bits than recorded since a (result)")


def test_without_a_record_the_digest_is_given():
    report, ends = added(None, a=(True, RECORDED["a"]), b=(False, RECORDED["b"]))
    assert ends == ["", ""]
    total = records.total({name: RECORDED[name] for name in "ab"})
    assert report.verdict() == (
        f"wrong in 1 of 2 checks: b\nno record for this CPU: its digest is {total}"
    )
