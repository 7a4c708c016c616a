"""Where what is to be sent waits while the server is away: files of one batch each in a private, bounded directory.

In: request bodies, of spans in OTLP or of rows. Out: the same bytes, oldest first, in this process or a later one. A
batch is written under another name and renamed, so a reader never sees half of one; one process at a time delivers, by
a file lock that dies with it. Where the disk takes nothing, a small part of memory does. What is dropped is counted.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows: two processes may deliver one batch, which the server stores once
    fcntl = None

DEFAULT_MB = 256
MEMORY_BYTES = 8 * 2**20
_HALF_WRITTEN_SECONDS = 3600

log = logging.getLogger("assay")


class Batch(NamedTuple):
    """Some spans or rows as they are sent; `file` is None for those that wait in memory."""

    body: bytes
    spans: int
    file: Path | None = None


class Spool:
    """Batches that wait, oldest first. `directory` None keeps them in memory only. Never raises OSError.

    `what` they hold is told in messages.
    """

    def __init__(self, directory: Path | None, limit_bytes: int, what: str = "spans") -> None:
        self.directory = directory
        self._what = what
        self._suffix = ".otlp" if what == "spans" else ".rows"
        self.dropped_spans = 0
        self._limit_bytes = limit_bytes
        self._room_bytes = 0
        self._numbers = itertools.count()
        self._stuck: set[Path] = set()
        self._warned: set[str] = set()
        self.forget_memory()

    def forget_memory(self) -> None:
        """Start without what waits in memory: in the child of a fork, where the parent still has it."""
        self._memory: list[Batch] = []
        self._lock = threading.Lock()

    def put(self, body: bytes, spans: int) -> None:
        """Keep a batch; the oldest are dropped where there is no room for it."""
        if self.directory:
            try:
                self._write(self.directory, body, spans)
                return
            except OSError as error:
                self._warn_once(
                    "write", f"cannot keep {self._what} in {self.directory} ({error}): a few wait in memory"
                )
        with self._lock:
            self._memory.append(Batch(body, spans))
            while sum(len(batch.body) for batch in self._memory) > MEMORY_BYTES:
                self._drop(self._memory.pop(0).spans)

    def batches(self) -> Iterator[Batch]:
        """What waits, oldest first; each is read when its turn comes."""
        for file in self._files():
            if file not in self._stuck:
                with suppress(OSError):
                    yield Batch(file.read_bytes(), _spans(file), file)
        yield from list(self._memory)

    def remove(self, batch: Batch) -> None:
        """Forget a batch that is settled."""
        if batch.file is None:
            with self._lock, suppress(ValueError):
                self._memory.remove(batch)
            return
        try:
            batch.file.unlink(missing_ok=True)
        except OSError as error:
            self._stuck.add(batch.file)
            self._warn_once(
                "remove", f"cannot remove delivered {self._what} ({error}); the next start sends them again"
            )

    @contextmanager
    def claimed(self) -> Generator[bool]:
        """Whether delivering is up to this process; it is until the block ends."""
        if not (fcntl and self.directory and self.directory.exists()):
            yield True
            return
        descriptor = -1
        ours = True
        try:
            descriptor = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            # Not flock: a forked child would hold that too.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            ours = descriptor < 0 or not isinstance(error, BlockingIOError | PermissionError)
        try:
            yield ours
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def waiting_in_memory(self) -> int:
        """The spans that end with this process."""
        return sum(batch.spans for batch in self._memory)

    def _write(self, directory: Path, body: bytes, spans: int) -> None:
        if len(body) > self._limit_bytes:
            self._drop(spans)
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(body) > self._room_bytes:
            self._make_room(directory, len(body))
        file = directory / f"{time.time_ns():020}-{os.getpid()}-{next(self._numbers)}-{spans}{self._suffix}"
        written = file.with_suffix(".part")
        try:
            descriptor = os.open(written, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(body)
            written.rename(file)
        except OSError:
            with suppress(OSError):
                written.unlink(missing_ok=True)
            raise
        self._room_bytes -= len(body)

    def _make_room(self, directory: Path, needed_bytes: int) -> None:
        """Drop the oldest until a 64th of the limit is free: a directory is looked through that rarely."""
        _remove_half_written(directory)
        room = max(self._limit_bytes // 64, needed_bytes)
        sizes = {file: _size(file) for file in self._files()}
        total = sum(sizes.values())
        for file, size in sizes.items():
            if total <= self._limit_bytes - room:
                break
            with suppress(FileNotFoundError):
                file.unlink()
                self._drop(_spans(file))
            total -= size
        self._room_bytes = room

    def _files(self) -> list[Path]:
        try:
            return sorted(self.directory.glob(f"*{self._suffix}")) if self.directory else []
        except OSError:
            return []

    def _drop(self, spans: int) -> None:
        self.dropped_spans += spans
        self._warn_once(
            "drop", f"there is no room for more {self._what} to wait; the oldest are dropped (ASSAY_SPOOL_MB)"
        )

    def _warn_once(self, topic: str, text: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning("assay: %s", text)


def spool_directory(url: str, chosen: str | os.PathLike[str] | None = None) -> Path:
    """The directory for spans to `url`: under `chosen`, else ASSAY_SPOOL_DIR, else the user's cache.

    Raises RuntimeError where the user has no home.
    """
    parent = chosen or os.environ.get("ASSAY_SPOOL_DIR")
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", url.partition("//")[2].rpartition("@")[2])[:60]
    return (Path(parent) if parent else _cache() / "assay" / "spool").absolute() / (
        f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    )


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _spans(file: Path) -> int:
    count = file.stem.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _remove_half_written(directory: Path) -> None:
    """What a process left that was killed while it wrote."""
    for file in directory.glob("*.part"):
        with suppress(OSError):
            if file.stat().st_mtime < time.time() - _HALF_WRITTEN_SECONDS:
                file.unlink()
