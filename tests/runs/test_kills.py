"""Runs that are killed with SIGKILL at random moments and resumed, until they end.

`make soak` asks for hundreds of kills.
"""

import random
import subprocess
import time
from collections import Counter

import pytest

from tests.support.environments import SCRIPTS
from tests.support.processes import start_script
from tests.support.runs import FULL, check_complete, outcome, wait_until
from wrn3d.runs.folder import RunFolder
from wrn3d.system.files import UNFINISHED

EVERY = int(FULL[-1])  # iterations between checkpoints
# When to kill: the output to wait for (None: an unfinished checkpoint in the folder), and the
# maximum of seconds to wait after it.
MOMENTS = {
    "while it starts": ("", 1.5),
    "in the first step": ("memory ", 1.5),
    "at an iteration": ("iteration {:2}/", 0.05),
    "in a validation": ("iteration {:2}/", 0.02),
    "in a save": (None, 0.002),
    "in the evaluation": ("done ", 0.1),
}
# None: the run may end.
DECK = [*MOMENTS, "at an iteration", "in a validation", "in a save", None]


def unfinished_checkpoints(folder):
    try:
        return set(folder.glob(f"{UNFINISHED}*/checkpoint-*"))
    except FileNotFoundError:  # the save has just finished
        return set()


def attempt(front_end, moment, folder, log, draw):
    """Start or resume a run and kill it; return False if it ended before."""
    trained = max(RunFolder(folder).log.column("loss"), default=0)
    iteration = trained + draw.randrange(1, 25)
    if moment == "in a validation":
        iteration = EVERY * (trained // EVERY + draw.randrange(1, 4))
    text, longest = MOMENTS.get(moment, ("never", 0))

    left = unfinished_checkpoints(folder)  # by an earlier kill

    def reached():
        if text is None:
            return unfinished_checkpoints(folder) - left
        return text.format(iteration) in log.read_text()

    with log.open("w") as output:
        flags = [*FULL, "--output", folder, *(["--resume"] if folder.exists() else [])]
        process = start_script(front_end, *flags, stdout=output, stderr=subprocess.STDOUT)
    try:
        if wait_until(reached, process, pause=0.0005):
            time.sleep(draw.uniform(0, longest))
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        return False
    assert process.returncode == -9, log.read_text()
    check_complete(folder)
    return True


@pytest.mark.slow
@pytest.mark.soak
def test_killed_runs_end_with_the_same_bytes(tmp_path, undisturbed, request, capsys):
    draw, log = random.Random(0), tmp_path / "log"
    kills, ended, wanted, deck = Counter(), 0, request.config.getoption("--kills"), []
    while kills.total() < wanted or ended == 0:
        deck = deck or draw.sample(DECK, len(DECK))
        moment = deck.pop() if kills.total() < wanted else None
        folder = tmp_path / f"run{ended}"
        if attempt(draw.choice(list(SCRIPTS)), moment, folder, log, draw):
            kills[moment] += 1
        else:
            assert outcome(folder, log.read_text()) == outcome(*undisturbed)
            assert not list(folder.glob(f"{UNFINISHED}*"))
            ended += 1
    with capsys.disabled():
        print(f"\n{kills.total()} kills {dict(kills)}, {ended} runs ended with the same bytes")
