"""CSV logs: complete lines only, whatever the disk or a kill does."""

import tracemalloc

import pytest

from tests.support.runs import files_end_at
from wrn3d.runs.folder import RunFolder
from wrn3d.runs.log import Log
from wrn3d.system.errors import DataError

COLUMNS = ("learning_rate", "loss", "accuracy")


def test_lines_stay_pending_until_there_is_room(tmp_path):
    log = Log(tmp_path / "log.csv", ("loss",))
    log.start(0)
    log.buffer(1, 0.5)
    log.write()
    with files_end_at(log.path.stat().st_size + 3):
        for iteration in (2, 3):
            log.buffer(iteration, 0.25)
            with pytest.raises(DataError, match="log.csv cannot be written"):
                log.write()
    assert log.path.read_text() == "iteration,loss\n1,0.5\n"
    assert log.column("loss") == {1: 0.5, 2: 0.25, 3: 0.25}
    log.buffer(4, 0.125)
    log.write()
    assert log.path.read_text() == "iteration,loss\n1,0.5\n2,0.25\n3,0.25\n4,0.125\n"


@pytest.mark.parametrize(
    "line",
    [
        "2,0.5,0.8w",
        "2,0.5",
        "2,0.5,0.8,1",
        "2,,0.8",
        "2,0x5,0.8",
        " 2,1,1",
        "-2,0.5,0.8",
        "2.5,0.5,0.8",
        "\u0662,0.5,0.8",
        "9" * 5000 + ",1,1",
    ],
)
def test_damaged_lines_are_ignored_and_removed(tmp_path, line):
    log = Log(tmp_path / "validation.csv", ("loss", "accuracy"))
    log.path.write_text(
        f"iteration,loss,accuracy\n1,0.75,0.5\n{line}\n3,nan,0.25\n", encoding="utf-8"
    )
    assert log.column("accuracy") == {1: 0.5, 3: 0.25}
    log.start(3)
    assert log.path.read_text() == "iteration,loss,accuracy\n1,0.75,0.5\n3,nan,0.25\n"


@pytest.mark.parametrize("name", ["log.csv", "validation.csv"])
def test_a_folder_in_place_of_a_log_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    with (
        RunFolder(tmp_path, resume=True) as folder,
        pytest.raises(DataError, match=f"{name} cannot be read \\(is a directory"),
    ):
        folder.start(0, validates=True)


def test_the_log_of_another_version_is_not_changed(tmp_path):
    older = "iteration,learning_rate,loss,accuracy\n1,0.1,2.5,0.5\n"
    (tmp_path / "log.csv").write_text(older)
    with pytest.raises(DataError, match="log.csv has the columns of another version"):
        RunFolder(tmp_path).log.start(0)
    assert (tmp_path / "log.csv").read_text() == older


def test_a_long_log_is_read_line_by_line(tmp_path):
    log = Log(tmp_path / "log.csv", COLUMNS)
    with log.path.open("wb") as file:
        file.write(log.header)
        file.writelines(b"%d,0.1,2.302585092994046,0.1015625\n" % n for n in range(1, 30_001))
    tracemalloc.start()
    try:
        assert log.start(20_000) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 200_000  # a fifth of the file
    finally:
        tracemalloc.stop()
    assert log.path.read_bytes().count(b"\n") == 20_001
