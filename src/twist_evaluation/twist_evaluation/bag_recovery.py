"""Gives an end to bags whose recording was cut off: ``twist-recover FOLDER...``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mcap.records import Channel, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader

from twist_evaluation.bag_writer import (
    CUSTOM_DATA_RECORD,
    METADATA_FILE,
    BagError,
    BagSummary,
    BagWriter,
    refuse_while_recorded,
)
from twist_evaluation.message_definitions import MessageDefinition


def is_cut_off(folder: Path) -> bool:
    """Whether `folder` holds an MCAP file, but no metadata."""
    return folder.is_dir() and not (folder / METADATA_FILE).exists() and any(folder.glob("*.mcap"))


def recover_bag(folder: Path) -> BagSummary:
    """Rebuilds index and metadata of a bag from its finished chunks.

    The bag is written anew beside the old file, which it then replaces: until then nothing is
    lost, and the disk needs room for both.

    Args:
        folder: of a bag without ``metadata.yaml``.

    Raises:
        BagError: there is nothing to recover, or the bag needs no recovery, or it is being
            recorded: its writer would go on in a file that is no longer there.
        OSError: no room for the copy.
    """
    if (folder / METADATA_FILE).exists():
        raise BagError(f"{folder} has its {METADATA_FILE}; there is nothing to recover")
    files = sorted(folder.glob("*.mcap")) if folder.is_dir() else []
    if len(files) != 1:
        raise BagError(f"{folder} holds {len(files)} .mcap files, expected one: not a cut-off bag")
    refuse_while_recorded(folder)
    source = files[0]
    rebuilt = folder / ".recovering" / folder.name
    shutil.rmtree(rebuilt.parent, ignore_errors=True)
    try:
        summary = _copy(source, rebuilt)
        os.replace(rebuilt / f"{folder.name}.mcap", folder / f"{folder.name}.mcap")
        os.replace(rebuilt / METADATA_FILE, folder / METADATA_FILE)
    finally:
        shutil.rmtree(rebuilt.parent, ignore_errors=True)
    if source.name != f"{folder.name}.mcap":
        source.unlink()
    for reserve in folder.glob(".*.reserve"):
        reserve.unlink()
    return BagSummary(folder, summary.messages, summary.topics, summary.size)


def _copy(source: Path, target: Path) -> BagSummary:
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    custom_data: dict[str, str] = {}
    writer: BagWriter | None = None
    for record in _readable_records(source):
        if isinstance(record, Metadata) and record.name == CUSTOM_DATA_RECORD:
            custom_data = dict(record.metadata)
        elif isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Message):
            writer = writer or BagWriter(target, custom_data, reserve_bytes=0)
            _append(writer, record, channels, schemas)
    if writer is None:
        raise BagError(
            f"{source} holds no finished chunk: nothing can be recovered, delete {source.parent}"
        )
    return writer.close(
        {
            "outcome": custom_data.get("outcome", "aborted"),
            "reason": "the recording process was killed; recovered from the finished chunks",
        }
    )


def _append(
    writer: BagWriter, message: Message, channels: dict[int, Channel], schemas: dict[int, Schema]
) -> None:
    channel = channels[message.channel_id]
    schema = schemas[channel.schema_id]
    definition = MessageDefinition(
        schema.name, schema.data.decode(), channel.metadata.get("topic_type_hash", "")
    )
    writer.add_topic(channel.topic, definition)
    writer.write(channel.topic, message.data, message.log_time, message.publish_time)


def _readable_records(path: Path) -> Iterator[McapRecord]:
    """Everything up to the first record that is incomplete or damaged."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        records = iter(StreamReader(stream, validate_crcs=True, record_size_limit=size).records)
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            # Whatever a damaged byte makes of the parser, the answer is the same: the end.
            except Exception:
                return
            yield record


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``twist-recover``; exit code 1 when one is missing or cannot be recovered."""
    parser = argparse.ArgumentParser(
        prog="twist-recover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="bag, or folder of bags")
    options = parser.parse_args(arguments)
    failures = 0
    for folder in options.folders:
        inside = (*folder.glob("*"), *folder.glob("seed*/*"))
        bags = [folder] if is_cut_off(folder) else sorted(filter(is_cut_off, inside))
        if not folder.is_dir():
            failures += 1
            print(f"{folder}: no such folder; give a bag or a folder of bags", file=sys.stderr)
        elif not bags:
            print(f"{folder}: no cut-off bag here")
        for bag in bags:
            try:
                summary = recover_bag(bag)
            except (BagError, OSError) as error:
                failures += 1
                print(f"{bag}: {error}", file=sys.stderr)
            else:
                print(f"{bag}: recovered {summary.messages} messages")
    return 1 if failures else 0
