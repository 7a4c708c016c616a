"""Send a file's calls to a server, part by part, and tell what became of them.

Ids come from the file, so sending a file twice, or the rest of one that was interrupted, stores each call once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Any

from assay.client.imports import lab, langfuse, openai, own, phoenix
from assay.client.imports.source import Record, Source
from assay.client.imports.telling import Context, Line, Refused
from assay.errors import AssayError, ServerError

FORMATS = (own.NAME, lab.NAME, phoenix.NAME, langfuse.NAME, openai.NAME)
EXPECTED = (
    "an export of Assay with all columns, the lab's llm_monitoring.db or its CSV, a Phoenix data frame,"
    " a Langfuse export, or OpenAI's JSON Lines"
)

PART_LINES = 1000
PART_BYTES = 4 << 20
SHOWN_REFUSALS = 1000
RETRIES = 8
LONGEST_PAUSE_SECONDS = 10.0

Send = Callable[[bytes], dict[str, Any]]
"""Sends lines to POST /api/import. Raises ServerError where trying again may help, else AssayError."""

_LINES: dict[str, Callable[[dict[str, Any], Context], Iterator[Line]]] = {
    own.NAME: own.lines,
    lab.NAME: lab.lines,
    phoenix.NAME: phoenix.lines,
    langfuse.NAME: langfuse.lines,
    openai.NAME: openai.lines,
}


def import_file(
    send: Send,
    path: Path,
    *,
    format: str | None = None,
    project: str | None = None,
    zone: tzinfo | None = None,
    progress: Callable[[float], object] = float,
) -> dict[str, Any]:
    """What became of a file's records: `stored` and `known` spans, `scores`, and each that was `refused` with why.

    `progress` is told how much of the file is sent, 0 to 1. Raises AssayError for a file that is none of ours, and
    where the server cannot be reached for long; what was stored until then stays.
    """
    if format is not None and format not in FORMATS:
        raise AssayError(f"{format!r} is no format of an import: choose one of {', '.join(FORMATS)}")
    source = Source(path)
    try:
        return _Import(send, source, format, project or "", zone, progress).run()
    finally:
        source.close()


class _Import:
    def __init__(
        self,
        send: Send,
        source: Source,
        format: str | None,
        project: str,
        zone: tzinfo | None,
        progress: Callable[[float], object],
    ) -> None:
        self._send = send
        self._source = source
        self._format = format
        self._progress = progress
        self._context = Context(project, zone, source.modified_ns)
        self._part: list[tuple[int, bytes]] = []
        self._part_bytes = 0
        self._found: dict[str, Any] = {"records": 0, "stored": 0, "known": 0, "scores": 0, "refused": 0}
        self._reasons: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        for record in self._source.records():
            self._found["records"] += 1
            self._take(record)
        self._flush()
        told = {"file": str(self._source.path), "format": self._format or "", "warning": _changed(self._source.path)}
        return told | self._found | {"reasons": self._reasons}

    def _take(self, record: Record) -> None:
        if record.data is None:
            self._refuse(record.place, record.reason)
            return
        if self._format is None:
            self._format = format_of(set(record.data), self._source)
        try:
            for line in self._lines(record.data):
                self._add(record.place, line)
        except Refused as error:
            self._refuse(record.place, str(error))
        except (AttributeError, TypeError, ValueError, KeyError, RecursionError) as error:
            self._refuse(record.place, f"is not as {self._format} writes it ({type(error).__name__}: {error})")

    def _lines(self, data: dict[str, Any]) -> Iterator[Line]:
        if self._format == own.NAME:
            data = own.from_csv(data) if self._source.container == "csv" else data
            return own.lines(data, self._context)
        return _LINES[self._format or ""](data, self._context._replace(project=self._context.project or "default"))

    def _add(self, place: int, line: Line) -> None:
        data = _encoded(line)
        if self._part and (len(self._part) >= PART_LINES or self._part_bytes + len(data) > PART_BYTES):
            self._flush()
        self._part.append((place, data))
        self._part_bytes += len(data)

    def _flush(self) -> None:
        part, self._part, self._part_bytes = self._part, [], 0
        if part:
            self._deliver(part)
        self._progress(self._source.fraction)

    def _deliver(self, part: list[tuple[int, bytes]]) -> None:
        try:
            answer = self._sent(b"\n".join(data for _, data in part))
        except ServerError as error:
            raise ServerError(
                f"{error}. {self._found['stored']:,} spans are stored; the same command goes on from there"
            ) from error
        except AssayError as error:
            # What cannot be taken together may be taken apart: one line that is too long costs no other.
            if len(part) == 1:
                self._refuse(part[0][0], str(error))
            else:
                self._deliver(part[: len(part) // 2])
                self._deliver(part[len(part) // 2 :])
            return
        for name in ("stored", "known", "scores"):
            self._found[name] += answer[name]
        for refused in answer["refused"]:
            place = part[refused["line"] - 1][0] if refused["line"] else None
            self._refuse(place, refused["reason"])

    def _sent(self, body: bytes) -> dict[str, Any]:
        for attempt in range(RETRIES):
            try:
                return self._send(body)
            except ServerError:
                if attempt == RETRIES - 1:
                    raise
                time.sleep(min(0.25 * 2**attempt, LONGEST_PAUSE_SECONDS))
        raise AssertionError

    def _refuse(self, place: int | None, reason: str) -> None:
        self._found["refused"] += 1
        if len(self._reasons) < SHOWN_REFUSALS:
            self._reasons.append({"line": place, "reason": reason})


def format_of(names: set[str], source: Source) -> str:
    """Whose records have these fields. Raises AssayError naming what is expected."""
    if source.container == "sqlite" or names >= lab.COLUMNS:
        return lab.NAME
    if names >= own.COLUMNS:
        return own.NAME
    for told in (phoenix, langfuse, openai):
        if told.recognises(names):
            return told.NAME
    shown = ", ".join(sorted(names)[:12]) or "nothing"
    if {"span_id", "trace_id"} <= names:
        raise AssayError(
            f"{source.path} is an export with some columns only ({shown}): only one with --columns all can be imported"
        )
    raise AssayError(f"{source.path} holds {shown}: expected {EXPECTED}; --format says which it is")


def _encoded(line: Line) -> bytes:
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A JSON text may spell half a surrogate pair, which UTF-8 cannot hold.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _changed(path: Path) -> str:
    """What a sidecar beside the file says against it, "" for nothing."""
    from assay.client.exporting import sha256_of, sidecar_of

    sidecar = sidecar_of(path)
    try:
        told = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return ""
    if told.get("sha256") in (None, sha256_of(path)):
        return ""
    return f"{path.name} is not as it was exported: {sidecar.name} has another checksum"
