"""Records of digests: one for each set of things that decide the bits."""

import json

import pytest

from wrn3d.system import machine
from wrn3d.system.errors import DataError, UserError
from wrn3d.verify import records
from wrn3d.verify.cases import operations_in
from wrn3d.verify.trainings import runs_in

MACHINE = {
    "cpu": {"name": "A (R) CPU @ 2.0 GHz", "model": "17"},
    "instructions": ["avx2", "fma"],
    "caches": ["L2 Unified 1024K of 1 core"],
    "versions": {"numpy": "2.4.6"},
    "settings": {},
}
DIGESTS = {"dense": {"result": "0123456789abcdef"}}


@pytest.mark.parametrize("part", MACHINE)
def test_whatever_decides_the_bits_has_a_record_of_its_own(part):
    other = MACHINE | {part: {"name": "another"} if part == "cpu" else ["another"]}
    assert records.file_name(other) != records.file_name(MACHINE)
    assert records.file_name(MACHINE).startswith("a-r-cpu-2-0-ghz-")


def test_what_is_written_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path / "new")
    assert records.find(MACHINE) is None
    path = records.write(tmp_path / "new", MACHINE, DIGESTS)
    assert records.find(MACHINE) == DIGESTS
    assert json.loads(path.read_text())["machine"] == MACHINE
    assert records.find(MACHINE | {"caches": []}) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file cannot be written .*: name another folder with"):
        records.write(tmp_path / "file", MACHINE, DIGESTS)


def test_digests_depend_on_each_bit():
    assert records.total(DIGESTS) != records.total({"dense": {"result": "1123456789abcdef"}})
    assert len(records.digest("text")) == 16


def test_this_machine_is_described_by_what_decides_the_bits(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ONEDNN_VERBOSE", "0")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(records.machine, "cpu_flags", lambda: {"avx2", "aes", "smep", "sme2"})
    here = records.this_machine()
    assert here["settings"] == {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "TF_ENABLE_ONEDNN_OPTS": "1",
    }
    assert set(here["versions"]) == {"tensorflow", "keras", "tensorlayer", "numpy"}
    assert here["cpu"]["name"] == machine.cpu_name()
    assert here["instructions"] == ["avx2", "sme2"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"digests": 5}', '{"digests": {"a": 1}}'])
def test_a_damaged_record_is_named(text, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    path = tmp_path / records.file_name(MACHINE)
    path.write_text(text)
    with pytest.raises(DataError, match=f"^{path} is damaged .*: install wrn3d again$"):
        records.find(MACHINE)


def test_each_record_in_the_package_is_under_its_name_and_has_this_versions_checks():
    for path in records.FOLDER.glob("*.json"):
        record = json.loads(path.read_text())
        assert path.name == records.file_name(record["machine"])
        names = list(record["digests"])
        in_bfloat16 = any(name.endswith(", bfloat16") for name in names)
        precisions = ("float32", "bfloat16")[: 1 + in_bfloat16]
        operations = [operation.name for operation in operations_in(precisions)]
        assert names == operations + [f"training on {run}" for run in runs_in(precisions)]
        assert all(
            len(digest) == 16
            for outputs in record["digests"].values()
            for digest in outputs.values()
        )
