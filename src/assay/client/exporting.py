"""Write an export to a file, whole or not at all, and beside it what it holds and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

Facts = dict[str, Any]


def sidecar_of(path: Path) -> Path:
    """Where the facts of a file are kept."""
    return path.with_name(path.name + ".meta.json")


def sha256_of(path: Path) -> str:
    """A file's checksum as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_export(to: str | Path | BinaryIO, facts: Facts, pieces: Iterator[bytes]) -> Facts:
    """The facts with `rows`, `bytes` and `sha256` of what was written.

    A path is only replaced once the export is complete, its sidecar with it. Into an open file goes no sidecar, and
    rows of Parquet are not counted (None).
    """
    counted = Counted(facts["format"])
    if not isinstance(to, str | Path):
        for piece in pieces:
            to.write(counted.of(piece))
        return facts | counted.facts
    path = Path(to)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(counted.of(piece))
        found = facts | counted.facts
        if facts["format"] == "parquet":
            found["rows"] = _parquet_rows(partial)
        sidecar_of(path).unlink(missing_ok=True)
        partial.replace(path)
        _write_json(sidecar_of(path), found)
    finally:
        partial.unlink(missing_ok=True)
    return found


class Counted:
    """Counts bytes, and rows of JSON Lines and CSV, while they pass by."""

    def __init__(self, format: str) -> None:
        self._format = format
        self._digest = hashlib.sha256()
        self._bytes = self._lines = 0
        self._quoted = False

    def of(self, piece: bytes) -> bytes:
        """The piece itself."""
        self._digest.update(piece)
        self._bytes += len(piece)
        if self._format == "jsonl":
            self._lines += piece.count(b"\n")
        elif self._format == "csv":
            self._lines += self._rows_end(piece)
        return piece

    @property
    def facts(self) -> Facts:
        """`rows`, `bytes`, `sha256` of all that passed."""
        rows = {"jsonl": self._lines, "csv": max(self._lines - 1, 0)}.get(self._format)
        return {"rows": rows, "bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def _rows_end(self, piece: bytes) -> int:
        """Ends of lines that stand in no quotes."""
        parts = piece.split(b'"')
        outside = parts[1::2] if self._quoted else parts[::2]
        self._quoted ^= len(parts) % 2 == 0
        return sum(part.count(b"\n") for part in outside)


def _parquet_rows(path: Path) -> int | None:
    with suppress(ImportError):
        import pyarrow.parquet as pq

        return pq.read_metadata(path).num_rows
    return None


def _write_json(path: Path, data: Facts) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
