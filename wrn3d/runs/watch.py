"""What lets people see a run while it goes on: its curves, and TensorBoard's events."""

import time
import warnings

from wrn3d.runs.curves import draw, read_curves
from wrn3d.runs.events import Events, has_tensorboard
from wrn3d.system.errors import MissingDataError, reason

FIRST = 5.0  # seconds until the curves are drawn for the first time
SHARE = 0.005  # of a run's time, at most, that drawing them takes


class Watch:
    """Of the run in the folder `path`. What cannot be written is said once, and the run goes on."""

    def __init__(self, path):
        self.path, self.picture = path, path / "curves.png"
        self.next, self.failed, self.events = time.monotonic() + FIRST, False, None

    def start(self, iteration):
        """From an iteration on; events of the folder that lie beyond it no longer count."""
        self.events = Events(self.path, iteration) if has_tensorboard() else None

    def add(self, iteration, **numbers):
        """Numbers of an iteration by name."""
        if self.events:
            self.events.add(iteration, numbers)

    def renew(self, must=False):
        """Draw curves.png anew, if it is time or it `must` be."""
        start = time.monotonic()
        if start < self.next and not must:
            return
        try:
            draw([read_curves(self.path)], self.picture)
        except MissingDataError:  # stopped before there was anything to draw
            return
        except Exception as error:  # whatever a user's matplotlib has: a run is worth more
            if not self.failed:
                warnings.warn(f"curves.png is not renewed ({reason(error)})", stacklevel=2)
            self.failed = True
        end = time.monotonic()
        self.next = end + (end - start) / SHARE
