"""TensorBoard's event files, where the package is installed."""

import io
import os
import socket
import time
import warnings
from importlib.util import find_spec

from wrn3d.system.errors import reason
from wrn3d.system.files import append_atomic


def has_tensorboard() -> bool:
    """Whether it is installed."""
    return find_spec("tensorboard") is not None


class Events:
    """A file of events in `folder` for what comes after an iteration. What files of the run's
    earlier processes have beyond it TensorBoard leaves out."""

    def __init__(self, folder, iteration):
        self.iteration, self.ended = iteration, False
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2  # half a second
            from tensorboard.summary.writer.record_writer import RecordWriter
        except Exception as error:  # something else of that name, or for another protobuf
            self._end(error)
            return
        self.event, self.summary, self.record = event_pb2.Event, summary_pb2.Summary, RecordWriter
        self._write(
            self.event(file_version="brain.Event:2", wall_time=time.time()),
            self.event(
                step=iteration + 1,
                wall_time=time.time(),
                session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START),
            ),
        )

    def add(self, iteration, numbers):
        """Add {name: number}; once something cannot be written it is said, and no more is."""
        self.iteration = iteration
        if not self.ended:
            self._write(
                self.event(
                    step=iteration,
                    wall_time=time.time(),
                    summary=self.summary(
                        value=[
                            self.summary.Value(tag=name.replace("_", " "), simple_value=number)
                            for name, number in numbers.items()
                        ]
                    ),
                )
            )

    def _write(self, *events):
        records = io.BytesIO()
        for event in events:
            self.record(records).write(event.SerializeToString())
        try:
            append_atomic(self.path, records.getvalue())
        except OSError as error:
            self._end(error)

    def _end(self, error):
        self.ended = True
        warnings.warn(
            f"TensorBoard's events end at iteration {self.iteration}, the run goes on: "
            f"{reason(error)}",
            stacklevel=2,
        )
