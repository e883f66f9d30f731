"""A bag holds every field that rosbag2 (Jazzy, version 9 of its metadata) reads, of its type.

`ros2 bag` is not there to try it with; its reader looks up each of these keys without a default, in
``metadata.yaml`` and in the MCAP file's own copy, so a missing one would be an exception there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from mcap.reader import make_reader

from twist_evaluation.bag_writer import BagWriter
from twist_evaluation.message_definitions import message_definition

STEP = "twist_msgs/msg/PolicyStep"
TIME = {"nanoseconds_since_epoch": int}
DURATION = {"nanoseconds": int}
READ_BY_ROSBAG2: dict[str, Any] = {
    "version": int,
    "storage_identifier": str,
    "duration": DURATION,
    "starting_time": TIME,
    "message_count": int,
    "topics_with_message_count": [
        {
            "topic_metadata": {
                "name": str,
                "type": str,
                "serialization_format": str,
                "offered_qos_profiles": [],
                "type_description_hash": str,
            },
            "message_count": int,
        }
    ],
    "relative_file_paths": [str],
    "compression_format": str,
    "compression_mode": str,
    "files": [
        {"path": str, "starting_time": TIME, "duration": DURATION, "message_count": int},
    ],
    "custom_data": {"task": str, "trial": str, "outcome": str},
    "ros_distro": str,
}


def assert_has(found: Any, expected: Any, at: str = "") -> None:
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in found, f"{at}/{key} is missing"
            assert_has(found[key], value, f"{at}/{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), at
        for item in found:
            assert_has(item, expected[0], at)
    else:
        assert type(found) is expected, f"{at} is {found!r}, expected {expected}"


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    writer = BagWriter(tmp_path / "bag", {"task": "block_push", "trial": "3"})
    writer.add_topic("/step", message_definition(STEP))
    writer.write("/step", b"\x00\x01\x00\x00" + bytes(64), 10**18 + 5, 10**18)
    writer.write("/step", b"\x00\x01\x00\x00" + bytes(64), 10**18 + 9, 10**18)
    writer.close({"outcome": "success"})
    return tmp_path / "bag"


def test_the_metadata_has_what_rosbag2_reads(bag: Path) -> None:
    information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert_has(information, READ_BY_ROSBAG2)
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert all((bag / path).is_file() for path in information["relative_file_paths"])


def test_the_mcap_file_alone_has_what_rosbag2_reads(bag: Path) -> None:
    with next(bag.glob("*.mcap")).open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        records = {record.name: record.metadata for record in reader.iter_metadata()}
        assert_has(yaml.safe_load(records["rosbag2"]["serialized_metadata"]), READ_BY_ROSBAG2)
        summary = reader.get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == 2
    assert summary.statistics.message_end_time - summary.statistics.message_start_time == 4
    (channel,) = summary.channels.values()
    assert channel.message_encoding == "cdr"
    assert {"offered_qos_profiles", "topic_type_hash"} <= channel.metadata.keys()
    assert summary.schemas[channel.schema_id].encoding == "ros2msg"
    assert all(chunk.message_index_length > 0 for chunk in summary.chunk_indexes)
