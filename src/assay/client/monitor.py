"""Ask an Assay server: the API as Python functions, for notebooks, scripts, the dashboard and the CLI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx

from assay.client.address import DEFAULT_URL, address
from assay.client.asking import Answer, Api, given
from assay.errors import AssayError, NotFound

if TYPE_CHECKING:
    import pandas as pd


def connect(url: str | None = None, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> Monitor:
    """A Monitor for the server at `url` (default ASSAY_URL, else http://127.0.0.1:4318).

    Raises AssayError where that is no URL.
    """
    where = address(url, api_key)
    try:
        client = httpx.Client(base_url=f"{where.url}/api", headers=where.headers, timeout=timeout_seconds)
    except httpx.InvalidURL as error:
        raise AssayError(f"{where.url!r} is no URL of a server ({error}): write for example {DEFAULT_URL}") from None
    return Monitor(client)


class Monitor(Api):
    """Questions to one server. Filters are keywords: since="24h", until=..., project=, model=, session_id=, ...

    Every method raises NotFound, ServerError where no server answers, or AssayError with the server's reason.
    """

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def health(self) -> Answer:
        """The server's state and counters, also when it is failing."""
        return self._parsed(self._request("GET", "/health", accepted=(200, 503)))

    def usage(self, **filters: Any) -> Answer:
        """Conversations, cost, tokens, latency; with group_by= also `groups`."""
        return self._get("/usage", filters)

    def quality(self, **filters: Any) -> Answer:
        """`scores` by name: mean with its interval (low, high), n, not_assessable, spread, `by_source`, `judged`."""
        return self._get("/quality", filters)

    def trends(self, **filters: Any) -> Answer:
        """`points` over time, with bucket= and group_by= if wanted."""
        return self._get("/trends", filters)

    def trends_frame(self, **filters: Any) -> pd.DataFrame:
        """The points of `trends` as a pandas DataFrame, its scores as columns (relevance, relevance_low, _high, _n)."""
        points = self.trends(**filters)["points"]
        return _frame(
            [{**point, **point.pop("scores"), **_bounds(point.pop("intervals"))} for point in points], "bucket"
        )

    def latencies(self, **filters: Any) -> list[Answer]:
        """How many conversations took from_ms to to_ms."""
        return self._get("/latencies", filters)["bins"]

    def calls(self, *, within: str | None = None, **filters: Any) -> Answer:
        """One page: `calls` and `next_cursor`. Also q=, order=, limit=, cursor=.

        With q= each has `highlights`; within="prompt", "response" or "messages" looks there only.
        """
        return self._get("/calls", {**filters, "in": within})

    def calls_frame(self, **filters: Any) -> pd.DataFrame:
        """One page of calls as a pandas DataFrame, its scores as columns."""
        calls = self.calls(**filters)["calls"]
        return _frame([{**call, **call.pop("scores")} for call in calls], "started_at")

    def call(self, span_id: str) -> Answer:
        """One call in full."""
        if not span_id.isalnum():
            raise NotFound(f"{span_id!r} is no span id: those are hexadecimal")
        return self._get(f"/calls/{span_id}", {})

    def agreement(self, **filters: Any) -> Answer:
        """How well each scorer agrees with people (`scorers`) and people with each other (`raters`); threshold=."""
        return self._get("/agreement", filters)

    def consistency(self, **filters: Any) -> Answer:
        """How often answers to the same prompt differ: `by_model` and the most inconsistent `prompts`."""
        return self._get("/consistency", filters)

    def alerts(self, **filters: Any) -> list[Answer]:
        """What the newest calls have beyond the thresholds, gravest first."""
        return self._get("/alerts", filters)["alerts"]

    def incidents(self, **filters: Any) -> list[Answer]:
        """Incidents, newest first: phase= (pending, firing, resolved, cleared), rule=, since=, limit=."""
        return self._get("/incidents", filters)["incidents"]

    def incident(self, incident_id: str) -> Answer:
        """One incident with its evidence and all its events."""
        return self._get(f"/incidents/{_id(incident_id)}", {})

    def acknowledge(self, incident_id: str, *, author: str = "", text: str = "") -> Answer:
        """Say that somebody is at it."""
        return self._post(f"/incidents/{_id(incident_id)}/acknowledge", {"author": author, "text": text})

    def comment(self, incident_id: str, text: str, *, author: str = "") -> Answer:
        """Write something down beside an incident."""
        return self._post(f"/incidents/{_id(incident_id)}/comment", {"author": author, "text": text})

    def silence(self, until: str, *, incident_id: str = "", **said: str) -> Answer:
        """Silence one incident's rule and group, or what matches rule=, group=, severity=; until "2h" or a time."""
        if incident_id:
            return self._post(f"/incidents/{_id(incident_id)}/silence", said, until=until)
        return self._post("/silences", {**said, "until": until})

    def silences(self, *, active: bool = True) -> list[Answer]:
        """Silences in force, or all."""
        return self._get("/silences", {"active": str(active).lower()})["silences"]

    def end_silence(self, silence_id: str) -> Answer:
        """End a silence now."""
        return self._parsed(self._request("DELETE", f"/silences/{_id(silence_id)}"))

    def rules(self) -> Answer:
        """`rules` with their state, `channels`, and what is wrong with the file (`problems`)."""
        return self._get("/rules", {})

    def replay(self, rules: str | None = None, **asked: Any) -> Answer:
        """What rules (a file's text, else the server's) would have done: since=, until=, only=, at_most_a_week=."""
        body = {"rules": rules, **asked}
        return self._parsed(self._request("POST", "/replay", json=given(body), timeout=None))

    def deliveries(self, limit: int = 100) -> list[Answer]:
        """The delivery log, newest first."""
        return self._get("/deliveries", {"limit": limit})["deliveries"]

    def test_channels(self, channel: str | None = None) -> list[Answer]:
        """Send a test message to a channel or all: the delivery log tells what became of it."""
        return self._parsed(self._request("POST", "/alerts/test", {"channel": channel}))["deliveries"]

    def report(self, **filters: Any) -> str:
        """The summary report as Markdown."""
        return self._request("GET", "/report", filters).text

    def export(self, to: str | Path | BinaryIO, format: str = "csv", **filters: Any) -> int:
        """Write all selected calls to a file as csv, jsonl or parquet; answers its size in bytes.

        A path is only replaced once the export is complete.
        """
        pieces = self._stream("/export", {**filters, "format": format})
        if not isinstance(to, str | Path):
            return sum(to.write(piece) for piece in pieces)
        path = Path(to)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                size = sum(file.write(piece) for piece in pieces)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return size

    def score(self, span_id: str, name: str, value: float | None = None, **more: str) -> Answer:
        """Store a score at once and answer with what was stored; `assay.score` does it in the background."""
        body = {"span_id": span_id, "name": name, "value": value, **more}
        return self._parsed(self._request("POST", "/scores", json=body))

    def reprice(self, *, dry_run: bool = False, **filters: Any) -> Answer:
        """Recompute stored costs with the prices known now: since=, until=, project=. Waits as long as it takes."""
        given = {**filters, "dry_run": str(dry_run).lower()}
        return self._parsed(self._request("POST", "/reprice", given, timeout=None))

    def fit(self, project: str = "default", *, rows: list[Answer] | None = None, **more: Any) -> Answer:
        """Fit scores to a project's labels, or to labelled rows: metric=, dry_run=, force=, author=. Takes seconds."""
        body = {"project": project, "rows": rows, **more}
        return self._parsed(self._request("POST", "/quality/fit", json=body, timeout=None))

    def fits(self, project: str | None = None) -> list[Answer]:
        """Every version that was fitted, of a project or of all; `active` ones are in use."""
        return self._get("/quality/fits", {"project": project})["fits"]

    def use_fit(self, version: str, project: str = "default", metric: str = "") -> list[Answer]:
        """Use a version that was fitted, or "shipped"; answers which metrics that changed."""
        body = {"project": project, "version": version, "metric": metric}
        return self._parsed(self._request("POST", "/quality/use", json=body))["used"]

    def thresholds(self, project: str = "default") -> list[Answer]:
        """A project's alert thresholds by metric, each with its basis: labels, quantile or lab."""
        return self._get("/quality/thresholds", {"project": project})["limits"]

    def backfill(self, **what: Any) -> Iterator[Answer]:
        """Score history anew: since=, until=, project=, scorers=[...], processes=, dask=, restart=.

        Tells how far it is: `done` and `total` calls, `scores` written. Left early, the same question goes on there.
        """
        lines = self._lines("POST", "/quality/backfill", json=given(what), timeout=None)
        for line in lines:
            if "error" in line:
                raise AssayError(line["error"])
            yield line

    def doctor(self) -> list[Answer]:
        """What may be wrong with the server and its calls: check, status (ok, warning, failure), found, fix."""
        return self._get("/doctor", {})["findings"]


def _id(text: str) -> str:
    if not text.isalnum():
        raise NotFound(f"{text!r} is no id: those are hexadecimal")
    return text


def _bounds(intervals: dict[str, Answer]) -> Answer:
    return {f"{name}_{bound}": figure for name, interval in intervals.items() for bound, figure in interval.items()}


def _frame(rows: list[Answer], time_column: str) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise AssayError("data frames need pandas: pip install pandas") from None
    frame = pd.DataFrame(rows)
    if time_column in frame:
        frame[time_column] = pd.to_datetime(frame[time_column], utc=True, format="ISO8601")
    return frame
