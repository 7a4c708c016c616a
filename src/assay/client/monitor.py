"""Ask an Assay server: the API as Python functions, for notebooks, scripts, the dashboard and the CLI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import httpx

from assay.client.address import DEFAULT_URL, address
from assay.client.asking import Answer, Api, given
from assay.client.exporting import write_export
from assay.errors import AssayError, NotFound

if TYPE_CHECKING:
    import pandas as pd

REPORT_SECONDS = 120.0
"""A report asks some fifteen questions, and a PDF has to be set."""


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
    """Questions to one server. Filters are keywords: since="24h", until=..., project=, model=, tag="team:search", ...

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
        """`scores` by name: mean with its interval (low, high), n, not_assessable, spread, `by_source`, `judged`.

        With group_by= also `groups`; score= keeps one.
        """
        return self._get("/quality", filters)

    def distribution(self, **filters: Any) -> list[Answer]:
        """How the values of each score are spread: `bins`, `n`, and the `judges` that gave them."""
        return self._get("/quality/distribution", filters)["scores"]

    def worst(self, score: str, **filters: Any) -> list[Answer]:
        """The conversations that a score speaks of worst, with the reasons; limit=."""
        return self._get("/quality/worst", {"score": score, **filters})["calls"]

    def trends(self, **filters: Any) -> Answer:
        """`points` over time, with bucket=, group_by=, metric= (one or a list) and tz= if wanted."""
        return self._get("/trends", filters)

    def trends_frame(self, **filters: Any) -> pd.DataFrame:
        """The points of `trends` as a pandas DataFrame, its scores as columns (relevance, relevance_low, _high, _n)."""
        points = self.trends(**filters)["points"]
        return _frame(
            [{**point, **point.pop("scores", {}), **_bounds(point.pop("intervals", {}))} for point in points], "bucket"
        )

    def names(self) -> Answer:
        """What there are calls of: `projects`, `models`, `environments`, `releases`; and when the `first_at` was."""
        return self._get("/names", {})

    def top(self, group_by: str, **filters: Any) -> Answer:
        """`top`: users, sessions, prompts, models or another dimension by= cost, calls, tokens, latency or failures."""
        return self._get("/top", {"group_by": group_by, **filters})

    def sessions(self, **filters: Any) -> Answer:
        """One page: `sessions` and `next_cursor`. Also order=, limit=, cursor=."""
        return self._get("/sessions", filters)

    def session(self, session_id: str, **more: Any) -> Answer:
        """One session with its calls in order, by trace: project= if it is in several; limit=, cursor=."""
        return self._get(f"/sessions/{quote(session_id, safe='')}", more)

    def errors(self, **filters: Any) -> Answer:
        """The error rate with its interval, and `types`: each error type; with group_by= also `groups`."""
        return self._get("/errors", filters)

    def costs(self, **filters: Any) -> Answer:
        """Cost split into input, output and what caching saved, and unpriced models; with group_by= also `groups`."""
        return self._get("/costs", filters)

    def what_if(self, *models: str, **filters: Any) -> Answer:
        """What the same conversations would have cost with each of `models`; as_provider= if names do not tell."""
        return self._get("/costs/what-if", {"as_model": list(models), **filters})

    def speed(self, **filters: Any) -> Answer:
        """Percentiles of latency, time to first token and output tokens per second; `groups` by group_by=model."""
        return self._get("/speed", filters)

    def frame(self, question: str, *asked: Any, **filters: Any) -> pd.DataFrame:
        """The rows of another question as a pandas DataFrame: frame("top", "users", by="cost"), frame("sessions").

        Rows are those of top, sessions, errors (its types), latencies, and the `groups` of usage, costs and speed.
        """
        rows = _ROWS.get(question)
        if rows is None:
            raise AssayError(f"there is no table of {question!r}: choose one of {', '.join(_ROWS)}")
        answer = getattr(self, question)(*asked, **filters)
        if isinstance(answer, dict) and rows not in answer:
            raise AssayError(f"a table of {question} has a row a group: add group_by=, for example group_by='model'")
        return _frame(answer[rows] if isinstance(answer, dict) else answer, "first_at", "last_at")

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

    def groups(self, **filters: Any) -> Answer:
        """Kinds of question (`groups`, `other`): share, cost, latency, errors, scores; with since= also `changes`."""
        return self._get("/groups", filters)

    def group(self, group_id: str, **filters: Any) -> Answer:
        """One of them with its most frequent templates; its calls are calls(prompt_group=group_id)."""
        return self._get(f"/groups/{_id(group_id)}", filters)

    def refit_groups(self, project: str | None = None) -> list[Answer]:
        """Find the kinds of question anew now; answers how many each project has."""
        return self._parsed(self._request("POST", "/groups/refit", {"project": project}, timeout=None))["projects"]

    def similar(self, span_id: str, **filters: Any) -> Answer:
        """Calls that ask something like this one: `similar`, one row a template; limit=."""
        return self._get(f"/calls/{_id(span_id)}/similar", filters)

    def similar_to(self, text: str, **filters: Any) -> Answer:
        """Calls that ask something like a text: `similar`, one row a template; limit=."""
        return self._get("/similar", {"q": text, **filters})

    def trace(self, trace_id: str) -> list[Answer]:
        """All spans of a trace in the order of their starts; `duplicate_of` names the span that counts a call."""
        if not trace_id.isalnum():
            raise NotFound(f"{trace_id!r} is no trace id: those are hexadecimal")
        return self._get(f"/traces/{trace_id}", {})["spans"]

    def agreement(self, **filters: Any) -> Answer:
        """How well each scorer agrees with people (`scorers`) and people with each other (`raters`); threshold=."""
        return self._get("/agreement", filters)

    def consistency(self, **filters: Any) -> Answer:
        """How often answers to the same prompt differ: `by_model` and the most inconsistent `prompts`."""
        return self._get("/consistency", filters)

    def compare(self, **filters: Any) -> Answer:
        """`changes` from the calls `before` to those `after`: since= against the period before, or versus_model=."""
        return self._get("/compare", filters)

    def budgets(self) -> list[Answer]:
        """What is spent of each budget of the server's settings, and what it will be by the end of its period."""
        return self._get("/budgets", {})["budgets"]

    def models(self, **filters: Any) -> list[Answer]:
        """Classical models: project, model, versions, rows, labels, last_at, error_rate, latency."""
        return self._get("/models", filters)["models"]

    def model_performance(self, model: str, **filters: Any) -> Answer:
        """How good it was where labels have come: figures, points; by= version or a feature, positive=, segment=."""
        return self._of_model(model, "performance", filters)

    def model_estimate(self, model: str, **filters: Any) -> Answer:
        """How good it probably is before labels come, by its calibrated probabilities (CBPE)."""
        return self._of_model(model, "estimated", filters)

    def model_drift(self, model: str, **filters: Any) -> Answer:
        """How far features, prediction and confidence moved from the reference, or from versus_since= (_until=)."""
        return self._of_model(model, "drift", filters)

    def model_data_quality(self, model: str, **filters: Any) -> Answer:
        """Missing, infinite, out of range, new, constant or changed features, and errors by type."""
        return self._of_model(model, "data-quality", filters)

    def drift(self, **filters: Any) -> Answer:
        """What moved in LLM calls against the period before (since=) or versus_...=: prompts, lengths, scores."""
        return self._get_slowly("/drift", filters)

    def comparison(self, classical: str, **filters: Any) -> Answer:
        """`aspects` of a classical model beside LLM calls; classical_project=, classical_version=."""
        return self._get_slowly("/comparison", {**filters, "classical": classical})

    def _of_model(self, model: str, question: str, filters: dict[str, Any]) -> Answer:
        return self._get_slowly(f"/models/{quote(model, safe='')}/{question}", filters)

    def _get_slowly(self, path: str, filters: dict[str, Any]) -> Any:
        """What fits classifiers takes seconds where others work, too."""
        return self._parsed(self._request("GET", path, filters, timeout=REPORT_SECONDS))

    def sql(self, query: str) -> Answer:
        """What a SELECT over calls, scores_wide and sessions finds: `columns`, `rows`, whether it was `truncated`."""
        return self._parsed(self._request("POST", "/sql", json={"query": query}, timeout=None))

    def sql_frame(self, query: str) -> pd.DataFrame:
        """The rows that `sql` finds as a pandas DataFrame."""
        found = self.sql(query)
        names = [column["name"] for column in found["columns"]]
        return _frame([dict(zip(names, row, strict=True)) for row in found["rows"]], "started_at")

    def sql_schema(self) -> dict[str, list[Answer]]:
        """The columns (`name`, `type`) of each view that `sql` can read."""
        return self._get("/sql/schema", {})["views"]

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
        """What rules (a text, else the server's) would have done: since=, until=, only=, at_most_a_week=, points=."""
        body = {"rules": rules, **asked}
        return self._parsed(self._request("POST", "/replay", json=given(body), timeout=None))

    def deliveries(self, limit: int = 100) -> list[Answer]:
        """The delivery log, newest first."""
        return self._get("/deliveries", {"limit": limit})["deliveries"]

    def test_channels(self, channel: str | None = None) -> list[Answer]:
        """Send a test message to a channel or all: the delivery log tells what became of it."""
        return self._parsed(self._request("POST", "/alerts/test", {"channel": channel}))["deliveries"]

    def report(self, format: str = "md", **filters: Any) -> Any:
        """The report: text as "md" or "html", bytes as "pdf", its figures as "json"; title= if wanted."""
        answer = self._request("GET", "/report", {**filters, "format": format}, timeout=REPORT_SECONDS)
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
            return self._parsed(self._request("POST", "/import", replacing, content=body, timeout=120))

        return import_file(send, Path(path), format=format, project=project, zone=zone, progress=progress)

    def predictions(self, **filters: Any) -> Answer:
        """One page of a classical model's predictions, newest first, with labels: `predictions` and `next_cursor`.

        Filters are project=, model=, model_version=, key=, prediction_id=, status=, since=, until=; reference=True asks
        for the rows that others are compared with. Also limit=, cursor=.
        """
        if "reference" in filters:
            filters["reference"] = str(filters["reference"]).lower()
        return self._get("/predictions", filters)

    def labels(self, **filters: Any) -> list[Answer]:
        """How many `labels` each model has, and how many are `unmet`: of no prediction that is stored."""
        return self._get("/labels", filters)["models"]

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


_ROWS = {
    "top": "top",
    "sessions": "sessions",
    "errors": "types",
    "latencies": "bins",
    "usage": "groups",
    "costs": "groups",
    "speed": "groups",
}
"""Questions to the part of their answer that is a table."""


def _frame(rows: list[Answer], *time_columns: str) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise AssayError("data frames need pandas: pip install pandas") from None
    frame = pd.DataFrame(rows)
    for column in time_columns:
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    return frame
