"""Answer a user's own SQL over the documented views, within limits that it cannot lift."""

from __future__ import annotations

import threading
from itertools import accumulate
from typing import Any

import msgspec

from assay.analytics.sql_errors import in_plain_words
from assay.analytics.sql_guard import VIEWS, checked, refused_functions
from assay.config import Sql
from assay.errors import AssayError, StoreError, StoreUnavailable
from assay.store.connect import Store


class Answer(msgspec.Struct, frozen=True):
    """What a query found: `rows` of values in the order of `columns` (each with `name` and the engine's `type`).

    Times are RFC 3339 (UTC), what is not a number is None. `truncated` says that there were more rows or bytes
    than the limits allow.
    """

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool
    seconds: float
    rows_read: int
    bytes_read: int


class Desk:
    """Takes users' queries one at a time, so that pages and ingest keep the rest of the machine."""

    def __init__(self, store: Store, limits: Sql) -> None:
        self._store, self._limits = store, limits
        self._one_at_a_time = threading.Lock()
        self._refused: frozenset[str] = frozenset()

    def answer(self, query: str) -> Answer:
        """What the query finds. Raises AssayError in the user's words, StoreUnavailable where others wait too long."""
        if not self._limits.enabled:
            raise AssayError("queries in SQL are switched off here: sql.enabled in assay.toml")
        if not self._one_at_a_time.acquire(timeout=self._limits.max_seconds):
            raise StoreUnavailable("another query in SQL is still running: try again in a moment")
        try:
            self._refused = self._refused or refused_functions(self._store)
            return self._run(checked(self._store, query, self._refused))
        finally:
            self._one_at_a_time.release()

    def schema(self) -> dict[str, list[dict[str, str]]]:
        """The columns of each view, with their types."""
        rows = self._store.query(
            "SELECT table, name, type FROM system.columns WHERE database = currentDatabase()"
            " AND table IN {views:Array(String)} ORDER BY table, position",
            {"views": list(VIEWS)},
        )
        columns: dict[str, list[dict[str, str]]] = {view: [] for view in VIEWS}
        for row in rows:
            columns[row["table"]].append({"name": row["name"], "type": row["type"]})
        return columns

    def _run(self, query: str) -> Answer:
        try:
            told = self._store.isolated(query, _settings(self._limits))
        except StoreError as error:
            columns = sorted({column["name"] for view in self.schema().values() for column in view})
            raise AssayError(in_plain_words(str(error), VIEWS, query, columns)) from None
        found = msgspec.json.decode(told)
        shown = rows = found["data"][: self._limits.max_rows]
        if len(told) > self._limits.max_result_bytes:
            shown = rows[: _fitting(rows, self._limits.max_result_bytes)]
        read = found["statistics"]
        return Answer(
            columns=found["meta"],
            rows=shown,
            truncated=len(found["data"]) > len(shown),
            seconds=read["elapsed"],
            rows_read=read["rows_read"],
            bytes_read=read["bytes_read"],
        )


def _fitting(rows: list[list[Any]], most_bytes: int) -> int:
    """How many rows are at most so many bytes of JSON."""
    sizes = accumulate(len(msgspec.json.encode(row)) for row in rows)
    return sum(size <= most_bytes for size in sizes)


def _settings(limits: Sql) -> dict[str, str | int]:
    """The engine's settings. Of a result that is too large the engine stops making more after the block at hand."""
    return {
        "max_execution_time": limits.max_seconds,
        "timeout_overflow_mode": "throw",
        "max_result_rows": limits.max_rows + 1,
        # The engine counts its own columns, where a row may have four times the bytes of its JSON.
        "max_result_bytes": 4 * limits.max_result_bytes,
        "result_overflow_mode": "break",
        "max_memory_usage": limits.max_memory_bytes,
        "max_bytes_before_external_group_by": limits.max_memory_bytes // 2,
        "max_bytes_before_external_sort": limits.max_memory_bytes // 2,
        "max_threads": limits.threads,
        "max_block_size": 8192,
        "max_ast_depth": 500,
        "max_ast_elements": 20_000,
        "allow_introspection_functions": 0,
        "date_time_output_format": "iso",
        "output_format_json_quote_64bit_integers": 0,
        "output_format_json_quote_denormals": 0,
        "output_format_json_validate_utf8": 1,
    }
