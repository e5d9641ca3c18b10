"""Every reader on damaged files: it returns data or raises one clear error.

No reader runs code from a file, hangs, or takes much memory for a small file.
`make fuzz` tries ten thousand files on each.
"""

import random
import sys
import time

import pytest

from tests.fuzz.measuring import FORBIDDEN, memory_measured
from tests.fuzz.readers import LOGS, READERS
from wrn3d.system.errors import UserError

HANDFUL = 8  # files for a reader in the quick tests
SECONDS = 5.0  # for one file; intact files take milliseconds
GROWTH = 50e6  # bytes of memory for one file; the files have less than 4 MB


@pytest.fixture(scope="module")
def executed():
    """Yield a list of the forbidden calls. Python cannot remove the audit hook: turn it off."""
    calls, watching = [], [True]
    sys.addaudithook(
        lambda event, arguments: (
            calls.append((event, arguments)) if watching and event in FORBIDDEN else None
        )
    )
    yield calls
    watching.clear()


@pytest.mark.filterwarnings("ignore:.* has no line for")
@pytest.mark.filterwarnings("ignore:.*not read are .*; files of one patient")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("count", [HANDFUL, pytest.param(None, marks=pytest.mark.slow, id="many")])
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_data_or_one_clear_error(
    tmp_path, monkeypatch, executed, pytestconfig, capsys, name, count
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    path, read, damage = READERS[name](folder)
    intact = path.read_bytes()
    read(path)  # which also imports what it needs
    is_refused(path, damage(intact, random.Random(1)), read)
    executed.clear()

    draw, count, refused = random.Random(0), count or pytestconfig.getoption("--inputs"), 0
    most, slowest = 0, 0.0
    for _ in range(count):
        content = damage(intact, draw)
        with memory_measured() as grown:
            start = time.perf_counter()
            refused += is_refused(path, content, read)
            slowest = max(slowest, time.perf_counter() - start)
        most = max(most, *grown)
    if count > HANDFUL:
        with capsys.disabled():
            print(
                f"\n{name}: {count:,} files, {refused:,} refused, at most {slowest:.2f} s and "
                f"{most / 2**20:.0f} MiB"
            )
    assert refused > count / 10 or name in LOGS
    assert not executed
    assert slowest < SECONDS and most < GROWTH


def is_refused(path, content, read):
    """Return whether the reader raises one of the errors for users; let others through."""
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        message = str(error)
        assert message.isprintable() and 0 < len(message) < 1000, message
        return True
    return False
