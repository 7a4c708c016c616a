"""Undo Content-Encoding, and go no further than a limit, so that a small body cannot fill the memory."""

from __future__ import annotations

import zlib

import pyarrow as pa

from assay.errors import MalformedTelemetry

SUPPORTED = "gzip, deflate, zstd or none"

_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before Content-Encoding. Raises MalformedTelemetry (400, 413, 415).

    Reads gzip and zstd of several members, and deflate with and without the header of zlib (RFC 9110, 8.4.1.2).
    """
    match encoding:
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, _GZIP_BITS, encoding, limit)
        case "deflate":
            return _inflated(body, _ZLIB_BITS if has_zlib_header(body) else _RAW_BITS, encoding, limit)
        case "zstd":
            return _zstd(body, limit)
        case _:
            raise MalformedTelemetry(f"Content-Encoding {encoding!r} is not supported: send {SUPPORTED}", 415)


def _inflated(body: bytes, window_bits: int, encoding: str, limit: int) -> bytes:
    inflated, size, rest = list[bytes](), 0, body
    while rest:
        inflater = zlib.decompressobj(window_bits)
        try:
            inflated.append(inflater.decompress(rest, limit + 1 - size))
        except zlib.error as error:
            raise MalformedTelemetry(f"the body is not valid {encoding}: {error}") from None
        size += len(inflated[-1])
        _require_within(size, limit)
        if not inflater.eof:
            raise MalformedTelemetry(f"the body is not valid {encoding}: it ends too early")
        rest = inflater.unused_data
    return b"".join(inflated)


def has_zlib_header(body: bytes) -> bool:
    """Whether a body begins as RFC 1950 says; raw deflate does not."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0


def _zstd(body: bytes, limit: int) -> bytes:
    try:
        inflated = pa.CompressedInputStream(pa.BufferReader(body), "zstd").read(limit + 1)
    except OSError as error:
        raise MalformedTelemetry(f"the body is not valid zstd: {error}") from None
    _require_within(len(inflated), limit)
    return inflated


def _require_within(size: int, limit: int) -> None:
    if size > limit:
        raise MalformedTelemetry(f"the body inflates to more than {limit} bytes: send smaller batches", 413)
