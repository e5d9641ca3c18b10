"""Write TensorBoard event files, if TensorBoard is installed."""

import io
import os
import socket
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wrn3d.system.errors import reason
from wrn3d.system.files import append_atomic


def has_tensorboard() -> bool:
    """Return whether TensorBoard is installed."""
    return find_spec("tensorboard") is not None


class Events:
    """An event file in `folder` for the iterations after `iteration`.

    TensorBoard then ignores these iterations in older files. The first failed write warns and ends
    the file.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self.iteration, self.ended = iteration, False
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2  # takes half a second
            from tensorboard.summary.writer.record_writer import RecordWriter
        except Exception as error:  # another package of that name, or another protobuf version
            self._end(error)
            return
        self.event, self.summary, self.record = event_pb2.Event, summary_pb2.Summary, RecordWriter
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(
            self.event(file_version="brain.Event:2", wall_time=time.time()),
            self.event(step=iteration + 1, wall_time=time.time(), session_log=start),
        )

    def add(self, iteration: int, numbers: Mapping[str, float]) -> None:
        """Record an iteration's {name: number}."""
        self.iteration = iteration
        if self.ended:
            return
        values = [
            self.summary.Value(tag=name.replace("_", " "), simple_value=number)
            for name, number in numbers.items()
        ]
        summary = self.summary(value=values)
        self._write(self.event(step=iteration, wall_time=time.time(), summary=summary))

    def _write(self, *events: Any) -> None:
        records = io.BytesIO()
        for event in events:
            self.record(records).write(event.SerializeToString())
        try:
            append_atomic(self.path, records.getvalue())
        except OSError as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self.ended = True
        warnings.warn(
            f"TensorBoard events end at iteration {self.iteration}, training continues: "
            f"{reason(error)}",
            stacklevel=2,
        )
