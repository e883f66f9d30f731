"""A recording in progress: a bag, the thread that writes it, and the queue in between.

The callbacks of a node only put bytes into the queue; compression and the disk are the thread's.
The queue is bounded in bytes. What does not fit is dropped, counted per topic, and told in the
bag's custom data and in the summary: never silently.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twist_evaluation.bag_writer import BagSummary, BagWriter, add_custom_data

_SPACE_CHECK_PERIOD = 0.5  # seconds


@dataclass(frozen=True)
class RecordingSummary:
    """What became of a recording.

    Attributes:
        bag: what the bag holds.
        dropped: messages of each topic that did not reach the bag; empty when all did.
        fault: why the recording ended early; empty when it did not.
    """

    bag: BagSummary
    dropped: dict[str, int] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class _Entry:
    topic: str
    data: bytes
    log_time: int
    publish_time: int


class BagRecording:
    """Writes a bag in a thread of its own.

    Args:
        writer: of a bag that has all its topics declared.
        queue_bytes: most that may wait to be written.
        minimum_free_bytes: the recording ends with a fault when less is free on the disk.
        on_fault: called once, from the writing thread, when the recording ends early.
        free_bytes: tells how much is free; replaced in tests.
    """

    def __init__(
        self,
        writer: BagWriter,
        *,
        queue_bytes: int = 64 * 2**20,
        minimum_free_bytes: int = 0,
        on_fault: Callable[[str], None] = lambda _: None,
        free_bytes: Callable[[BagWriter], int] | None = None,
    ) -> None:
        self._writer = writer
        self._queue_bytes = queue_bytes
        self._minimum_free_bytes = minimum_free_bytes
        self._on_fault = on_fault
        self._free_bytes = free_bytes or _free_bytes
        self._queue: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._fault = ""
        self._dropped: Counter[str] = Counter()
        self._custom_data: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="bag_writer", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str:
        """Why the recording ended early; empty while it is well."""
        return self._fault

    @property
    def dropped(self) -> int:
        """How many messages did not reach the bag so far."""
        with self._changed:
            return sum(self._dropped.values())

    def put(self, topic: str, data: bytes, log_time: int, publish_time: int) -> bool:
        """Hands a message over; never waits.

        Args:
            topic: one the writer has declared.
            data: CDR bytes.
            log_time: nanoseconds since the epoch, reception.
            publish_time: nanoseconds since the epoch, publication.

        Returns:
            Whether it was accepted; if not, it was counted as dropped.
        """
        with self._changed:
            full = self._waiting_bytes + len(data) > self._queue_bytes
            if full or self._fault or self._stopping:
                self._dropped[topic] += 1
                return False
            self._queue.append(_Entry(topic, data, log_time, publish_time))
            self._waiting_bytes += len(data)
            self._changed.notify()
            return True

    def stop(self, custom_data: Mapping[str, str], timeout: float = 30.0) -> RecordingSummary:
        """Writes what waits, closes the bag and says what it holds.

        Args:
            custom_data: what is known now, for the bag's metadata.
            timeout: seconds to wait for the disk.

        Raises:
            TimeoutError: the disk did not take the rest in time.
        """
        with self._changed:
            self._custom_data.update({str(k): str(v) for k, v in custom_data.items()})
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(
                f"{self._writer.folder}: the disk did not take the last {self._waiting_bytes} "
                f"bytes within {timeout:.0f} s. Record to a faster disk, or fewer images."
            )
        if self._fault:
            # The bag was closed when the fault came; the outcome may still fit into its metadata.
            with contextlib.suppress(Exception):
                add_custom_data(self._writer.folder, {**self._custom_data, **self._report()})
        return RecordingSummary(self._writer.summary(), dict(self._dropped), self._fault)

    def _run(self) -> None:
        next_check = 0.0
        try:
            while (entry := self._next()) is not None:
                self._writer.write(entry.topic, entry.data, entry.log_time, entry.publish_time)
                if self._writer.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if time.monotonic() >= next_check:
                    next_check = time.monotonic() + _SPACE_CHECK_PERIOD
                    self._require_space()
            self._writer.close({**self._custom_data, **self._report()})
        except Exception as error:
            self._end_early(error)

    def _next(self) -> _Entry | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            if not self._queue:
                return None
            entry = self._queue.popleft()
            self._waiting_bytes -= len(entry.data)
            return entry

    def _require_space(self) -> None:
        free = self._free_bytes(self._writer)
        if free < self._minimum_free_bytes:
            raise OSError(errno.ENOSPC, f"only {free / 2**20:.0f} MiB free")

    def _end_early(self, error: Exception) -> None:
        with self._changed:
            self._fault = _explain(error, self._writer)
            for entry in self._queue:
                self._dropped[entry.topic] += 1
            self._queue.clear()
            self._waiting_bytes = 0
        try:
            self._writer.close(
                {"outcome": "aborted", "reason": self._fault, **self._custom_data, **self._report()}
            )
        except Exception:
            self._writer.abandon()
            self._fault += (
                f". The bag could not be ended: run `twist-recover {self._writer.folder}`"
            )
        self._on_fault(self._fault)

    def _report(self) -> dict[str, str]:
        with self._changed:
            report = {"dropped": str(sum(self._dropped.values()))}
        if self._fault:
            report["recording_fault"] = self._fault
        return report


def _free_bytes(writer: BagWriter) -> int:
    status = os.statvfs(writer.folder)
    return status.f_bavail * status.f_frsize


def _explain(error: Exception, writer: BagWriter) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"disk full while recording ({error.strerror}): {writer.folder} was closed early. Free "
            "space, or record to another disk"
        )
    return f"recording to {writer.folder} failed: {type(error).__name__}: {error}"
