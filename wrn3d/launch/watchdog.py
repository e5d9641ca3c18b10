"""End the workers of a launcher that is gone, even if SIGKILL ended it.

The launcher runs this file as a process of its own. All workers are in this process's group. Each
line of standard input is a worker's process id, and the input ends when the launcher does.
"""

import os
import signal
import sys
import time
from contextlib import suppress

GRACE = 5.0  # seconds that the workers have after SIGTERM, for instance to save


def main() -> None:
    """Wait for the end of standard input; then send SIGTERM to the group, and later SIGKILL."""
    # SIGTERM is meant for the workers. The kernel sends SIGHUP to the group if the launcher is gone
    # while one of the group's processes is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    workers = []
    for line in sys.stdin:
        # A worker may leave the group. Only Linux can tell that a process id is still the same one.
        with suppress(OSError, AttributeError):
            workers.append(os.pidfd_open(int(line)))
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    for worker in workers:
        with suppress(OSError):
            signal.pidfd_send_signal(worker, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)  # this process, too


if __name__ == "__main__":
    main()
