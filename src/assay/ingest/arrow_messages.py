"""What an Arrow IPC stream says of itself before any of it is unpacked: whether its buffers are compressed.

Arrow allocates as much as a compressed buffer claims to hold, without a limit; Content-Encoding has one
(ingest/wire.py). Read from the flatbuffers of each message (Arrow columnar format, Message.fbs).
"""

from __future__ import annotations

import struct

import pyarrow as pa

from assay.errors import MalformedTelemetry

_HEADER, _COMPRESSION, _DICTIONARY_DATA = 2, 3, 1
"""Places of fields in the tables Message, RecordBatch and DictionaryBatch."""


def refuse_compressed(body: bytes) -> None:
    """Raises MalformedTelemetry where the buffers of a stream are compressed; ArrowException where it is none."""
    try:
        for message in pa.ipc.MessageReader.open_stream(body):
            if message.type in ("record batch", "dictionary") and _compressed(message):
                raise MalformedTelemetry(
                    "the stream's buffers are compressed: write it without, and send Content-Encoding: zstd", 415
                )
    except struct.error:
        raise MalformedTelemetry("the body is no Arrow IPC stream: a message is cut short") from None


def _compressed(message: pa.Message) -> bool:
    data = message.metadata.to_pybytes()
    batch = _table(data, _table(data, 0), _HEADER)
    if message.type == "dictionary":
        batch = _table(data, batch, _DICTIONARY_DATA)
    return bool(_place(data, batch, _COMPRESSION))


def _table(data: bytes, at: int, field: int | None = None) -> int:
    """Where the table begins that an offset points to: that of a field, or the one at `at`."""
    place = at if field is None else _place(data, at, field)
    return place + _unsigned(data, place)


def _place(data: bytes, table: int, field: int) -> int:
    """Where a field of a table is, 0 where it is not set."""
    [back] = struct.unpack_from("<i", data, table)
    index = table - back
    [size] = struct.unpack_from("<H", data, index)
    entry = 4 + 2 * field
    if entry >= size:
        return 0
    [offset] = struct.unpack_from("<H", data, index + entry)
    return table + offset if offset else 0


def _unsigned(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]
