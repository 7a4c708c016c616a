"""Undo Content-Encoding, and go no further than a limit, so that a small body cannot fill the memory."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

from assay.errors import MalformedTelemetry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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
            return _inflated(body, lambda: zlib.decompressobj(_GZIP_BITS), encoding, limit)
        case "deflate":
            window_bits = _ZLIB_BITS if has_zlib_header(body) else _RAW_BITS
            return _inflated(body, lambda: zlib.decompressobj(window_bits), encoding, limit)
        case "zstd":
            return _inflated(body, zstd.ZstdDecompressor, encoding, limit)
        case _:
            raise MalformedTelemetry(f"Content-Encoding {encoding!r} is not supported: send {SUPPORTED}", 415)


def _inflated(body: bytes, decompressor: Callable[[], Any], encoding: str, limit: int) -> bytes:
    inflated, size, rest = list[bytes](), 0, body
    while rest:
        member = decompressor()
        try:
            inflated.append(member.decompress(rest, limit + 1 - size))
        except (zlib.error, zstd.ZstdError) as error:
            raise MalformedTelemetry(f"the body is not valid {encoding}: {error}") from None
        size += len(inflated[-1])
        if size > limit:
            raise MalformedTelemetry(f"the body inflates to more than {limit} bytes: send smaller batches", 413)
        if not member.eof:
            raise MalformedTelemetry(f"the body is not valid {encoding}: it ends too early")
        rest = member.unused_data
    return b"".join(inflated)


def has_zlib_header(body: bytes) -> bool:
    """Whether a body begins as RFC 1950 says; raw deflate does not."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
