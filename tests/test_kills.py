"""Runs that are killed with SIGKILL at random moments, again and again, until they end.

`make soak` asks for hundreds of kills.
"""

import random
import subprocess
import time
from collections import Counter

from tests.support.environments import SCRIPTS
from tests.support.processes import start_script
from tests.support.runs import FULL, check_whole, outcome, wait_until
from wrn3d.runs.folder import RunFolder
from wrn3d.system.files import UNFINISHED

EVERY = int(FULL[-1])  # iterations from one checkpoint, and validation, to the next

# What is waited for, as a text in the output or a sight of the folder, and for how many seconds
# more at the most until the kill.
MOMENTS = {
    "while it starts": ("", 1.5),
    "in the first step": ("memory ", 1.5),
    "at an iteration": ("iteration {:2}/", 0.05),
    "in a validation": ("iteration {:2}/", 0.02),
    "in a save": (None, 0.002),
    "in the evaluation": ("done ", 0.1),
}
# None: this time it may end.
DECK = [*MOMENTS, "at an iteration", "in a validation", "in a save", None]


def being_saved(folder):
    """Checkpoints that are not in their place yet, or were left so."""
    try:
        return set(folder.glob(f"{UNFINISHED}*/checkpoint-*"))
    except FileNotFoundError:  # it has just got there
        return set()


def attempt(front_end, moment, folder, log, draw):
    """Run or go on with a run, and kill it; returns whether, it may end before."""
    trained = max(RunFolder(folder).log.column("loss"), default=0)
    iteration = trained + draw.randrange(1, 25)
    if moment == "in a validation":
        iteration = EVERY * (trained // EVERY + draw.randrange(1, 4))
    text, longest = MOMENTS.get(moment, ("never", 0))

    left = being_saved(folder)  # by the kill before

    def reached():
        if text is None:
            return being_saved(folder) - left
        return text.format(iteration) in log.read_text()

    with log.open("w") as output:
        process = start_script(
            front_end,
            *FULL,
            "--output",
            folder,
            "--resume",
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        if wait_until(reached, process, pause=0.0005):
            time.sleep(draw.uniform(0, longest))
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        return False
    assert process.returncode == -9, log.read_text()
    check_whole(folder)
    return True


def test_runs_that_are_killed_end_with_the_same_bits(tmp_path, undisturbed, request, capsys):
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
        print(f"\n{kills.total()} kills {dict(kills)}, {ended} runs ended with the same bits")
