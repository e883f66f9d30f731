"""Bags: what goes in comes out, with whatever reader, however the recording ends."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from twist_evaluation.bag_recording import BagRecording
from twist_evaluation.bag_recovery import main as recover_main
from twist_evaluation.bag_recovery import recover_bag
from twist_evaluation.bag_writer import (
    BagError,
    BagWriter,
    add_custom_data,
    read_metadata,
)
from twist_evaluation.message_definitions import DefinitionError, message_definition

STEP = "twist_msgs/msg/PolicyStep"
JOINTS = "sensor_msgs/msg/JointState"


class SmallDisk:
    """A disk with a fixed number of bytes, shared by the file and its reserve."""

    def __init__(self, capacity: int, reserve: int) -> None:
        self.left = capacity - reserve
        self.reserve = reserve

    def open(self, path: Path) -> SmallDisk:
        self.file = path.open("xb", buffering=0)
        self.path = path
        return self

    def write(self, data: memoryview) -> int:
        if self.reserve and not list(self.path.parent.glob(".*.reserve")):
            self.left, self.reserve = self.left + self.reserve, 0
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self.file.write(data[: self.left])
        self.left -= count
        return count

    def close(self) -> None:
        self.file.close()


def _writer(folder: Path, **options: Any) -> BagWriter:
    writer = BagWriter(folder, {"task": "block_push", "trial": "3"}, **options)
    writer.add_topic("/step", message_definition(STEP))
    writer.add_topic("/joints", message_definition(JOINTS))
    return writer


def _payload(size: int, seed: int) -> bytes:
    """Bytes that do not compress."""
    return np.random.default_rng(seed).bytes(size)


def _messages(bag: Path) -> list[tuple[str, int, bytes]]:
    with AnyReader([bag]) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_messages_come_back_byte_for_byte(
    tmp_path: Path, sample_trial: Any, compression: str
) -> None:
    step = sample_trial.message(STEP, step=7, surprise=1.5)
    writer = _writer(tmp_path / "bag", compression=compression)
    writer.write("/step", step, 10**18 + 1, 10**18)
    writer.write("/joints", b"\x00\x01\x00\x00rest", 10**18 + 2, 10**18 + 2)
    summary = writer.close({"outcome": "success"})

    assert summary.messages == 2
    assert _messages(tmp_path / "bag") == [
        ("/step", 10**18 + 1, step),
        ("/joints", 10**18 + 2, b"\x00\x01\x00\x00rest"),
    ]


def test_bag_explains_its_own_message_types(tmp_path: Path, sample_trial: Any) -> None:
    writer = _writer(tmp_path / "bag")
    writer.write("/step", sample_trial.message(STEP, step=7, delta=np.array([0.01, 0, 0])), 5, 5)
    writer.close({})

    # Without a type store of its own, the reader has only the definitions in the bag.
    with AnyReader([tmp_path / "bag"]) as reader:
        ((connection, _, data),) = reader.messages()
        message: Any = reader.deserialize(data, connection.msgtype)
        assert connection.digest == message_definition(STEP).type_hash
        assert connection.digest.startswith("RIHS01_")
    assert message.step == 7
    assert list(message.delta) == [0.01, 0, 0]


def test_metadata_is_rosbag2_version_9_with_the_custom_data(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "bag")
    writer.write("/joints", b"abc", 100, 100)
    writer.write("/joints", b"abc", 350, 350)
    writer.close({"outcome": "failure", "steps": "150"})

    information = read_metadata(tmp_path / "bag")
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["bag.mcap"]
    assert information["duration"] == {"nanoseconds": 250}
    assert information["message_count"] == 2
    assert information["custom_data"] == {
        "task": "block_push",
        "trial": "3",
        "outcome": "failure",
        "steps": "150",
    }
    counts = {
        t["topic_metadata"]["name"]: t["message_count"]
        for t in information["topics_with_message_count"]
    }
    assert counts == {"/step": 0, "/joints": 2}


def test_mcap_file_follows_rosbag2s_conventions_and_keeps_the_message_index(
    tmp_path: Path,
) -> None:
    writer = _writer(tmp_path / "bag")
    writer.write("/joints", b"abc", 100, 90)
    writer.close({})

    with (tmp_path / "bag" / "bag.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
        assert summary is not None
        assert {s.encoding for s in summary.schemas.values()} == {"ros2msg"}
        assert {c.message_encoding for c in summary.channels.values()} == {"cdr"}
        assert all(index.message_index_offsets for index in summary.chunk_indexes)
        (found,) = [m for _, _, m in reader.iter_messages()]
    assert (found.log_time, found.publish_time) == (100, 90)


def test_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagError, match="exists already"):
        _writer(tmp_path / "bag")


def test_unknown_type_names_what_to_install() -> None:
    with pytest.raises(DefinitionError, match="Install juggling_msgs"):
        message_definition("juggling_msgs/msg/Ball")


def test_no_trace_of_the_reserve_is_left(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "bag")
    assert list((tmp_path / "bag").glob(".*.reserve"))
    writer.close({})
    assert sorted(p.name for p in (tmp_path / "bag").iterdir()) == ["bag.mcap", "metadata.yaml"]


def test_disk_full_ends_the_bag_readable_and_tells(tmp_path: Path) -> None:
    disk = SmallDisk(capacity=6 * 2**20, reserve=4 * 2**20)
    told: list[str] = []
    told_event = threading.Event()

    def tell(fault: str) -> None:
        told.append(fault)
        told_event.set()

    recording = BagRecording(_writer(tmp_path / "bag", opener=disk.open), on_fault=tell)
    sent = [_payload(600_000, seed) for seed in range(12)]
    for index, data in enumerate(sent):
        recording.put("/joints", data, index, index)
    assert told_event.wait(20)
    assert not recording.put("/joints", b"late", 99, 99)
    summary = recording.stop({"outcome": "aborted", "steps": "4"})

    assert "disk full while recording" in summary.fault
    assert told == [summary.fault]
    written = [data for _, _, data in _messages(tmp_path / "bag")]
    assert 2 <= len(written) < len(sent)
    assert written == sent[: len(written)]
    assert summary.dropped == {"/joints": len(sent) - len(written) + 1}
    custom = read_metadata(tmp_path / "bag")["custom_data"]
    assert custom["steps"] == "4"
    assert "disk full" in custom["recording_fault"]
    assert custom["dropped"] == str(len(sent) - len(written) + 1)


def test_disk_that_is_full_even_without_the_reserve_leaves_a_recoverable_bag(
    tmp_path: Path,
) -> None:
    # The reserve is taken by somebody else the moment it is given up.
    disk = SmallDisk(capacity=2 * 2**20, reserve=0)
    recording = BagRecording(_writer(tmp_path / "bag", opener=disk.open))
    sent = [_payload(600_000, seed) for seed in range(8)]
    for index, data in enumerate(sent):
        recording.put("/joints", data, index, index)
    summary = recording.stop({})

    assert "twist-recover" in summary.fault
    assert recover_bag(tmp_path / "bag").messages >= 2
    written = [data for _, _, data in _messages(tmp_path / "bag")]
    assert written == sent[: len(written)]


def test_too_little_free_space_ends_the_recording(tmp_path: Path) -> None:
    fault = threading.Event()
    recording = BagRecording(
        _writer(tmp_path / "bag"),
        minimum_free_bytes=10**6,
        free_bytes=lambda _: 10**5,
        on_fault=lambda _: fault.set(),
    )
    recording.put("/joints", b"abc", 1, 1)

    assert fault.wait(10)
    assert "disk full" in recording.stop({}).fault
    assert len(_messages(tmp_path / "bag")) == 1


def test_slow_disk_drops_and_counts_but_never_blocks_the_sender(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "bag")
    gate = threading.Event()
    write = writer.write

    def slow(*arguments: Any) -> None:
        gate.wait(20)
        write(*arguments)

    writer.write = slow  # type: ignore[method-assign]
    recording = BagRecording(writer, queue_bytes=1000)
    accepted = [recording.put("/joints", bytes(300), i, i) for i in range(10)]
    gate.set()
    summary = recording.stop({})

    assert accepted.count(False) >= 5
    assert summary.dropped == {"/joints": accepted.count(False)}
    assert not summary.fault
    assert summary.bag.messages == accepted.count(True)
    assert read_metadata(tmp_path / "bag")["custom_data"]["dropped"] == str(accepted.count(False))


def _cut_off_bag(folder: Path, sent: list[bytes]) -> None:
    """What a kill -9 leaves: whole chunks, part of one, and no end."""
    writer = _writer(folder)
    for index, data in enumerate(sent):
        writer.write("/joints", data, index, index)
    writer.abandon()
    file = folder / f"{folder.name}.mcap"
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize("inside", ["", "seed1"])
def test_killed_recording_is_recovered_with_its_custom_data(
    inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = [_payload(400_000, seed) for seed in range(10)]
    bag = tmp_path / "out" / inside / "bag"
    _cut_off_bag(bag, sent)
    with pytest.raises(BagError, match="twist-recover"):
        read_metadata(bag)

    assert recover_main([str(tmp_path / "out")]) == 0

    assert "recovered" in capsys.readouterr().out
    written = [data for _, _, data in _messages(bag)]
    assert len(written) >= 6
    assert written == sent[: len(written)]
    custom = read_metadata(bag)["custom_data"]
    assert custom["trial"] == "3"
    assert custom["outcome"] == "aborted"
    assert sorted(p.name for p in bag.iterdir()) == [
        "bag.mcap",
        "metadata.yaml",
    ]


def test_a_bag_that_is_being_recorded_is_left_alone_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, sent = tmp_path / "bag", [_payload(400_000, seed) for seed in range(8)]
    writer = _writer(bag)
    for index, data in enumerate(sent):
        if index == 4:
            assert recover_main([str(tmp_path)]) == 1
            assert "is being recorded" in capsys.readouterr().err
            with pytest.raises(BagError, match="is being recorded"):
                read_metadata(bag)
        writer.write("/joints", data, index, index)
    writer.close({"outcome": "success"})

    assert read_metadata(bag)["custom_data"]["outcome"] == "success"
    assert [data for _, _, data in _messages(bag)] == sent


def test_complete_bag_needs_no_recovery(tmp_path: Path) -> None:
    _writer(tmp_path / "bag").close({})
    with pytest.raises(BagError, match="nothing to recover"):
        recover_bag(tmp_path / "bag")


def test_hopeless_bag_is_said_to_be_so_and_left_alone(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "bag.mcap").write_bytes(b"nonsense")

    assert recover_main([str(bag)]) == 1
    assert recover_main([str(tmp_path / "no_such_folder")]) == 1
    assert (bag / "bag.mcap").read_bytes() == b"nonsense"


def test_custom_data_can_be_added_to_a_closed_bag(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "bag")
    writer.write("/joints", b"abc", 1, 1)
    writer.close({})

    add_custom_data(tmp_path / "bag", {"outcome": "success"})

    assert read_metadata(tmp_path / "bag")["custom_data"]["outcome"] == "success"
    assert len(_messages(tmp_path / "bag")) == 1
