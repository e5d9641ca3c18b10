"""Ctrl-C and SIGTERM, taken when the iteration is done."""

import signal

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StopRequest:
    """A context in which the first Ctrl-C or SIGTERM is only noted, as `number`; a second stops
    at once, as KeyboardInterrupt. A signal that is ignored stays so, as in a background job."""

    def __init__(self):
        self.number = None

    def __enter__(self):
        self.earlier = {number: signal.getsignal(number) for number in NAMES}
        for number, handler in self.earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *exception):
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    @property
    def name(self) -> str:
        """For people."""
        return NAMES[self.number]

    def _note(self, number, frame):
        earlier, self.number = self.number, number
        if earlier is not None:
            raise KeyboardInterrupt
