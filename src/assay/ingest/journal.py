"""The journal: requests on disk before they are acknowledged, kept until their rows are in the store.

In: requests as they came, inflated. They are framed with length and checksums and appended to segment files, one
fsync for all that are appended together. A segment whose requests are all stored is deleted, so after an orderly
end none is left; what a crash leaves is read again at the next start.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from zlib import crc32

from assay.errors import StoreUnavailable
from assay.ingest.batch import Request
from assay.store.connect import KEPT_FREE_BYTES, embedded_directory, no_room
from assay.store.lock import StoreLock

MEBIBYTE = 1 << 20
SEGMENT_BYTES = 32 * MEBIBYTE
MAX_BYTES = 256 * MEBIBYTE
_MAGIC = b"AsJ1"
# Magic, length and checksum of what follows; then a checksum of these three, so that a damaged length is told
# from a frame that was cut short.
_FIELDS = struct.Struct("<4sII")
_CHECK = struct.Struct("<I")
_HEADER_BYTES = _FIELDS.size + _CHECK.size

log = logging.getLogger(__name__)


class Segment:
    """One file of the journal, how many of its requests still wait for the store, and whether one is unusable."""

    def __init__(self, path: Path, size: int = 0, waiting: int = 0, *, spoiled: bool = False) -> None:
        self.path = path
        self.size = size
        self.waiting = waiting
        self.spoiled = spoiled


class Journal:
    """The segment files of one directory. `append` from one thread, `stored` from another.

    More than `max_bytes` are never kept. Raises StoreError when another process holds the directory.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._held = StoreLock(directory)
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._left = sorted(directory.glob("*.journal"))
        self._size = sum(path.stat().st_size for path in self._left)
        self._next_number = max([0, *(int(path.name.partition(".")[0]) for path in directory.glob("*.journal*"))]) + 1
        self._current: Segment | None = None
        self._file = -1

    @property
    def size_bytes(self) -> int:
        """What the segments take on disk."""
        return self._size

    def append(self, requests: Sequence[Request]) -> Segment:
        """Put requests on disk; answers where they are. Raises StoreUnavailable and then keeps none of them."""
        data = b"".join(part for request in requests for part in _frame(request))
        if self._size + len(data) > self._max_bytes:
            raise StoreUnavailable(f"{self._size >> 20} MB wait to be stored: send this again later")
        try:
            if shutil.disk_usage(self._directory).free < KEPT_FREE_BYTES:
                raise StoreUnavailable(no_room("the journal"))
            segment = self._segment_with_room(len(requests))
        except OSError as error:
            raise StoreUnavailable(f"cannot write to the journal: {error}") from error
        try:
            _write(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            self._take_back(segment, len(requests))
            raise StoreUnavailable(f"cannot write to the journal: {error}") from error
        with self._lock:
            segment.size += len(data)
            self._size += len(data)
        return segment

    def stored(self, segment: Segment, count: int, *, spoiled: bool = False) -> None:
        """Say that `count` requests of a segment are in the store, or that they never can be (`spoiled`)."""
        with self._lock:
            segment.waiting -= count
            segment.spoiled |= spoiled
            if segment.waiting == 0:
                try:
                    self._retire(segment)
                except OSError as error:
                    log.error("%s is stored but stays, and will be stored once more: %s", segment.path, error)

    def leftovers(self) -> Generator[tuple[Segment, list[Request]]]:
        """What an earlier process acknowledged and did not store, a segment at a time, oldest first."""
        while self._left:
            path = self._left.pop(0)
            data = path.read_bytes()
            segment = Segment(path, len(data), waiting=1)
            requests = list(_requests(data, segment))
            segment.waiting += len(requests)
            yield segment, requests
            self.stored(segment, 1)

    def close(self) -> None:
        """Leave the directory to others. Segments that wait stay for the next start."""
        with self._lock:
            self._let_go()
        self._held.release()

    def _segment_with_room(self, requests: int) -> Segment:
        with self._lock:
            if self._current and self._current.size >= self._segment_bytes:
                self._let_go()
            if not self._current:
                path = self._directory / f"{self._next_number:010}.journal"
                self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
                self._next_number += 1
                self._current = Segment(path)
                _sync_directory(self._directory)
            self._current.waiting += requests
            return self._current

    def _take_back(self, segment: Segment, requests: int) -> None:
        """Undo a write that failed, and go on in another file: this one's state on disk is not known."""
        with self._lock:
            try:
                os.ftruncate(self._file, segment.size)
            except OSError as error:
                log.warning("%s ends in requests that nobody was told are stored: %s", segment.path, error)
            self._let_go()
            segment.waiting -= requests
            if segment.waiting == 0:
                self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        if segment is self._current and not segment.spoiled:
            os.ftruncate(self._file, 0)
        elif segment.spoiled:
            if segment is self._current:
                self._let_go()
            aside = segment.path.rename(f"{segment.path}.bad")
            log.error("%s holds requests that cannot be stored: set aside", aside)
        else:
            segment.path.unlink()
        self._size -= segment.size
        segment.size = 0

    def _let_go(self) -> None:
        """End the current segment; one of which nothing waits goes at once."""
        if self._current:
            os.close(self._file)
            left, self._current, self._file = self._current, None, -1
            if left.waiting == 0 and left.size == 0 and not left.spoiled:
                left.path.unlink()


def journal_directory(store_url: str) -> Path:
    """Where the journal of a store is: within an embedded store, else ./assay-journal."""
    embedded = embedded_directory(store_url)
    return embedded / "journal" if embedded else Path("assay-journal")


def _frame(request: Request) -> tuple[bytes, bytes, bytes]:
    head = f"{request.signal}\0{request.content_type}\0".encode()
    fields = _FIELDS.pack(_MAGIC, len(head) + len(request.body), crc32(request.body, crc32(head)))
    return fields + _CHECK.pack(crc32(fields)), head, request.body


def _requests(data: bytes, segment: Segment) -> Iterator[Request]:
    """The whole frames of a segment; what is damaged is skipped and told, and spoils the segment."""
    at = 0
    while at < len(data):
        if at + _HEADER_BYTES > len(data) and _MAGIC.startswith(data[at : at + 4]):
            break
        length = _length(data, at)
        end = at + _HEADER_BYTES + (length or 0)
        if length is not None and end > len(data):
            break
        payload = data[at + _HEADER_BYTES : end]
        if length is not None and crc32(payload) == _FIELDS.unpack_from(data, at)[2]:
            signal, content_type, body = payload.split(b"\0", 2)
            yield Request(signal.decode(), content_type.decode(), body)
            at = end
        else:
            segment.spoiled = True
            following = data.find(_MAGIC, at + 1)
            log.error("%s is damaged at byte %d", segment.path, at)
            at = following if following > 0 else len(data)
    if at < len(data):
        log.warning("%s: ignored %d bytes at the end that were never acknowledged", segment.path, len(data) - at)


def _length(data: bytes, at: int) -> int | None:
    """The length in a frame's header; None where the header is damaged."""
    if at + _HEADER_BYTES > len(data):
        return None
    magic, length, _ = _FIELDS.unpack_from(data, at)
    [check] = _CHECK.unpack_from(data, at + _FIELDS.size)
    return length if magic == _MAGIC and check == crc32(data[at : at + _FIELDS.size]) else None


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
