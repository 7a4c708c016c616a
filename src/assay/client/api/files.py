"""The ways out and in: reports, exports and imports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from json import loads
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from assay.client.api.connection import SLOW_SECONDS, Answer, Api
from assay.client.exporting import write_export


class Files(Api):
    """Reports, exports and imports."""

    def report(self, format: str = "md", **filters: Any) -> Any:
        """The report: text as "md" or "html", bytes as "pdf", its figures as "json"; title= if wanted."""
        answer = self._request("GET", "/report", {**filters, "format": format}, timeout=SLOW_SECONDS)
        return {"pdf": lambda: answer.content, "json": answer.json}.get(format, lambda: answer.text)()

    def reports(self) -> Answer:
        """The scheduled `reports`, with when each is due, and `no_pdf`: why there is no PDF, "" where there is."""
        return self._get("/reports", {})

    def send_report(self, name: str) -> list[Answer]:
        """Send a scheduled report now: the delivery log tells what became of it."""
        return self._parsed(self._request("POST", f"/reports/{quote(name, safe='')}/send"))["deliveries"]

    def export(self, to: str | Path | BinaryIO, format: str = "csv", columns: str = "all", **filters: Any) -> Answer:
        """Write selected calls to a file as csv, jsonl or parquet; answers what it holds, its `rows` and `sha256`.

        `columns`: all (what an import needs), calls, lab, or names with commas between. A path is only replaced once
        the export is complete; the answer is written beside it, to <path>.meta.json.
        """
        with self._download("/export", {**filters, "format": format, "columns": columns}) as answer:
            return write_export(to, loads(answer.headers["Assay-Export"]), answer.iter_bytes())

    def import_file(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        project: str | None = None,
        zone: tzinfo | None = None,
        replace: bool = False,
        progress: Callable[[float], object] = float,
    ) -> Answer:
        """Store the calls of a file: an export of Assay, of the lab, Phoenix, Langfuse, or OpenAI's JSON Lines.

        Answers how many were `stored`, `known` before, and `refused` with the `reasons` and their lines. `format` says
        what is otherwise recognised, `zone` that of times without one (default this machine's).
        """

        from assay.client.imports.sending import import_file

        def send(body: bytes) -> Answer:
            replacing = {"replace": str(replace).lower()}
            return self._parsed(self._request("POST", "/import", replacing, content=body, timeout=SLOW_SECONDS))

        return import_file(send, Path(path), format=format, project=project, zone=zone, progress=progress)
