"""Reads TensorBoard's event files, and holds them against the metrics that they were made from."""

import struct

import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog

from pliant import report


def checksum(data):
    """The masked CRC-32C of a TFRecord, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(file):
    """The events of a file, whose checksums must be right."""
    data, found = file.read_bytes(), []
    while data:
        length, length_sum = struct.unpack("<QI", data[:12])
        event, (event_sum,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (length_sum, event_sum) == (checksum(data[:8]), checksum(event))
        found.append(Event.FromString(event))
        data = data[16 + length :]
    return found


def scalars(run):
    """`{member: [(step, tag, value)]}` of a run's event files, of which one for each member is not empty."""
    found = {}
    for file in run.glob("tensorboard/*/*"):
        if not file.stat().st_size:
            continue
        version, start, *rest = events(file)
        assert file.name.startswith("events.out.tfevents.") and version.file_version == "brain.Event:2"
        assert (start.session_log.status, start.step) == (SessionLog.START, 0)
        assert all(event.summary.value for event in rest) and file.parent.name not in found
        found[file.parent.name] = [(event.step, v.tag, v.simple_value) for event in rest for v in event.summary.value]
    return found


def expected(run):
    """The same from the metrics; values in 32 bits."""
    rows = report.load(run).metrics
    names = [column for column in rows.columns if column not in ("step", "metric", "group", "value")]
    found = {}
    for row in rows.to_dict("records"):
        member = ",".join(f"{name.rpartition('.')[2]}={row[name]}" for name in names)
        tag = f"{row['metric']}/{row['group']}" if row["group"] else row["metric"]
        found.setdefault(member, []).append((row["step"], tag, float(np.float32(row["value"]))))
    return found


def assert_complete(run):
    """Every row of the metrics is there once, for each member in the order of the steps."""
    found, there = scalars(run), expected(run)
    assert found.keys() == there.keys()
    for member, rows in found.items():
        assert [step for step, *_ in rows] == sorted(step for step, *_ in rows)
        assert len({row[:2] for row in rows}) == len(rows)
        np.testing.assert_equal(sorted(rows), sorted(there[member]))
