"""One bag: a folder with an MCAP file and rosbag2's ``metadata.yaml`` (version 9).

Messages are written as the bytes that came from the middleware (CDR), never decoded. The MCAP file
follows rosbag2's conventions (profile ``ros2``, ``ros2msg`` schemas with everything they contain,
chunks with a message index), so `ros2 bag`, Foxglove and `rosbags` read it.

Only what is known at the end is written at the end. A process that is killed leaves a file whose
finished chunks can be recovered (`bag_recovery`); a full disk ends the bag early, but properly.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from twist_evaluation.message_definitions import MessageDefinition
from twist_evaluation.reserved_file import RawFile, ReservedFile, is_being_written, open_new

METADATA_FILE = "metadata.yaml"
CUSTOM_DATA_RECORD = "twist_custom_data"
"""Name of the MCAP metadata record that repeats the custom data known at the start."""

_ROSBAG_METADATA_RECORD = "rosbag2"
_COMPRESSIONS = {
    "zstd": CompressionType.ZSTD,
    "lz4": CompressionType.LZ4,
    "none": CompressionType.NONE,
}
COMPRESSIONS = tuple(_COMPRESSIONS)
RESERVE_BYTES = 4 * 2**20
"""Room for what has to be written after the disk became full: a chunk (1 MiB), its messages' rest,
the index and the metadata."""


class BagError(RuntimeError):
    """A bag cannot be written, read or recovered; the message names cause and cure."""


@dataclass(frozen=True)
class BagSummary:
    """What a closed bag holds.

    Attributes:
        folder: of the bag.
        messages: how many messages in all.
        topics: messages of each topic.
        size: of the MCAP file, bytes.
    """

    folder: Path
    messages: int
    topics: dict[str, int]
    size: int


@dataclass
class _Topic:
    name: str
    definition: MessageDefinition
    channel: int
    messages: int = 0


class BagWriter:
    """Writes one bag.

    Args:
        folder: to create; it must not exist. The MCAP file in it carries its name.
        custom_data: what is known about the bag at the start.
        compression: of the chunks: ``zstd``, ``lz4`` or ``none``.
        reserve_bytes: room kept for the end of the file (see `ReservedFile`).
        opener: how the MCAP file is created.

    Raises:
        BagError: the folder exists or the compression is unknown.
        OSError: the folder or the file cannot be created.
    """

    def __init__(
        self,
        folder: Path,
        custom_data: Mapping[str, str],
        *,
        compression: str = "zstd",
        reserve_bytes: int = RESERVE_BYTES,
        opener: Callable[[Path], RawFile] = open_new,
    ) -> None:
        if compression not in _COMPRESSIONS:
            raise BagError(
                f"compression {compression!r} is unknown; choose one of {', '.join(COMPRESSIONS)}"
            )
        self.folder = folder
        self._custom_data = {str(k): str(v) for k, v in custom_data.items()}
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[str, int] = {}
        self._span: tuple[int, int] | None = None
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise BagError(
                f"{folder} exists already; bags are never overwritten: choose another folder or "
                "move the old one away"
            ) from None
        self._path = folder / f"{folder.name}.mcap"
        try:
            self._file = ReservedFile(self._path, reserve_bytes, opener)
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
        self._mcap = McapWriter(self._file, compression=_COMPRESSIONS[compression])  # type: ignore[arg-type]
        self._mcap.start(profile="ros2", library="twist_evaluation 0.1.0")
        self._mcap.add_metadata(CUSTOM_DATA_RECORD, self._custom_data)

    @property
    def full(self) -> bool:
        """Whether the disk became full: nothing may follow but `close`."""
        return self._file.full

    def add_topic(self, name: str, definition: MessageDefinition) -> None:
        """Declares a topic before its first message.

        Raises:
            BagError: the topic is there already, with another type.
        """
        known = self._topics.get(name)
        if known is not None:
            if known.definition.name != definition.name:
                raise BagError(
                    f"{name} is {known.definition.name} in this bag, not {definition.name}"
                )
            return
        if definition.name not in self._schemas:
            self._schemas[definition.name] = self._mcap.register_schema(
                definition.name, "ros2msg", definition.text.encode()
            )
        channel = self._mcap.register_channel(
            name,
            "cdr",
            self._schemas[definition.name],
            {"offered_qos_profiles": "", "topic_type_hash": definition.type_hash},
        )
        self._topics[name] = _Topic(name, definition, channel)

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
        """Appends a message.

        Args:
            topic: declared with `add_topic`.
            data: the message's CDR bytes, with their encapsulation header.
            log_time: when it was received, nanoseconds since the epoch.
            publish_time: when it was published, nanoseconds since the epoch.

        Raises:
            BagError: the topic was not declared.
            OSError: the device failed, or the disk is full beyond the reserve.
        """
        try:
            entry = self._topics[topic]
        except KeyError:
            raise BagError(
                f"topic {topic} is not in this bag; it has {list(self._topics)}"
            ) from None
        self._mcap.add_message(entry.channel, log_time, data, publish_time, entry.messages)
        entry.messages += 1
        first, last = self._span or (log_time, log_time)
        self._span = (min(first, log_time), max(last, log_time))

    def close(self, custom_data: Mapping[str, str]) -> BagSummary:
        """Writes index and metadata and closes the bag.

        Args:
            custom_data: what became known in the meantime; added to what is there.

        Raises:
            OSError: the end does not fit on the disk; the messages can be recovered.
        """
        self._custom_data.update({str(k): str(v) for k, v in custom_data.items()})
        information = self._information()
        try:
            self._mcap.add_metadata(
                _ROSBAG_METADATA_RECORD,
                {"serialized_metadata": yaml.safe_dump(information, sort_keys=False)},
            )
            self._mcap.finish()
            # Before the file is unlocked: without metadata it would pass for a cut-off one.
            self._file.release_reserve()
            write_metadata(self.folder, information)
        finally:
            self._file.close()
        return self.summary()

    def abandon(self) -> None:
        """Closes the file as it is, without an end. For when `close` is impossible."""
        with contextlib.suppress(OSError):
            self._file.close()

    def summary(self) -> BagSummary:
        """What was written so far."""
        topics = {topic.name: topic.messages for topic in self._topics.values()}
        return BagSummary(self.folder, sum(topics.values()), topics, self._file.tell())

    def _information(self) -> dict[str, Any]:
        start, end = self._span or (0, 0)
        count = sum(topic.messages for topic in self._topics.values())
        return {
            "version": 9,
            "storage_identifier": "mcap",
            "duration": {"nanoseconds": end - start},
            "starting_time": {"nanoseconds_since_epoch": start},
            "message_count": count,
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.definition.name,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": [],
                        "type_description_hash": topic.definition.type_hash,
                    },
                    "message_count": topic.messages,
                }
                for topic in self._topics.values()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._path.name],
            "files": [
                {
                    "path": self._path.name,
                    "starting_time": {"nanoseconds_since_epoch": start},
                    "duration": {"nanoseconds": end - start},
                    "message_count": count,
                }
            ],
            "custom_data": dict(self._custom_data),
            "ros_distro": "jazzy",
        }


def write_metadata(folder: Path, information: Mapping[str, Any]) -> None:
    """Writes ``metadata.yaml`` of a bag atomically.

    Args:
        folder: of the bag.
        information: content of ``rosbag2_bagfile_information``.
    """
    text = yaml.safe_dump({"rosbag2_bagfile_information": dict(information)}, sort_keys=False)
    temporary = folder / f".{METADATA_FILE}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, folder / METADATA_FILE)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_while_recorded(folder: Path) -> None:
    """Lets a bag pass that no living process writes.

    Raises:
        BagError: one does.
    """
    if any(is_being_written(path) for path in folder.glob("*.mcap")):
        raise BagError(f"{folder} is being recorded: wait until the recording has ended")


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads ``rosbag2_bagfile_information`` of a bag.

    Raises:
        BagError: there is none, also while the bag is being recorded, or it is not rosbag2's.
    """
    path = folder / METADATA_FILE
    if not path.is_file():
        refuse_while_recorded(folder)
        raise BagError(
            f"{folder} has no {METADATA_FILE}: its recording was cut off. "
            f"Run `twist-recover {folder}`."
        )
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["rosbag2_bagfile_information"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BagError(
            f"{path} is not rosbag2 metadata ({type(error).__name__}). Move it away and run "
            f"`twist-recover {folder}`."
        ) from None


def add_custom_data(folder: Path, custom_data: Mapping[str, str]) -> None:
    """Adds to the custom data in ``metadata.yaml`` of a closed bag.

    Raises:
        BagError: the bag has no metadata.
        OSError: the disk is full; the metadata is as before.
    """
    information = read_metadata(folder)
    information["custom_data"] = {
        **(information.get("custom_data") or {}),
        **{str(k): str(v) for k, v in custom_data.items()},
    }
    write_metadata(folder, information)
