"""What is asked about calls: figures, lists, texts, kinds of question, and SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from assay.client.api.connection import SLOW_SECONDS, Answer, Api, hexadecimal
from assay.client.api.tables import ROWS, bounds, table
from assay.errors import AssayError

if TYPE_CHECKING:
    import pandas as pd


class Calls(Api):
    """Questions about the calls of applications to language models."""

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
        return table(
            [{**point, **point.pop("scores", {}), **bounds(point.pop("intervals", {}))} for point in points], "bucket"
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

    def latencies(self, **filters: Any) -> list[Answer]:
        """How many conversations took from_ms to to_ms."""
        return self._get("/latencies", filters)["bins"]

    def frame(self, question: str, *asked: Any, **filters: Any) -> pd.DataFrame:
        """The rows of another question as a pandas DataFrame: frame("top", "users", by="cost"), frame("sessions").

        Rows are those of top, sessions, errors (its types), latencies, and the `groups` of usage, costs and speed.
        """
        rows = ROWS.get(question)
        if rows is None:
            raise AssayError(f"there is no table of {question!r}: choose one of {', '.join(ROWS)}")
        answer = getattr(self, question)(*asked, **filters)
        if isinstance(answer, dict) and rows not in answer:
            raise AssayError(f"a table of {question} has a row a group: add group_by=, for example group_by='model'")
        return table(answer[rows] if isinstance(answer, dict) else answer, "first_at", "last_at")

    def calls(self, *, within: str | None = None, **filters: Any) -> Answer:
        """One page: `calls` and `next_cursor`. Also q=, order=, limit=, cursor=.

        With q= each has `highlights`; within="prompt", "response" or "messages" looks there only.
        """
        return self._get("/calls", {**filters, "in": within})

    def calls_frame(self, **filters: Any) -> pd.DataFrame:
        """One page of calls as a pandas DataFrame, its scores as columns."""
        calls = self.calls(**filters)["calls"]
        return table([{**call, **call.pop("scores")} for call in calls], "started_at")

    def call(self, span_id: str) -> Answer:
        """One call in full."""
        return self._get(f"/calls/{hexadecimal(span_id, 'span id')}", {})

    def trace(self, trace_id: str) -> list[Answer]:
        """All spans of a trace in the order of their starts; `duplicate_of` names the span that counts a call."""
        return self._get(f"/traces/{hexadecimal(trace_id, 'trace id')}", {})["spans"]

    def groups(self, **filters: Any) -> Answer:
        """Kinds of question (`groups`, `other`): share, cost, latency, errors, scores; with since= also `changes`."""
        return self._get("/groups", filters)

    def group(self, group_id: str, **filters: Any) -> Answer:
        """One of them with its most frequent templates; its calls are calls(prompt_group=group_id)."""
        return self._get(f"/groups/{hexadecimal(group_id)}", filters)

    def refit_groups(self, project: str | None = None) -> list[Answer]:
        """Find the kinds of question anew now; answers how many each project has."""
        return self._parsed(self._request("POST", "/groups/refit", {"project": project}, timeout=None))["projects"]

    def similar(self, span_id: str, **filters: Any) -> Answer:
        """Calls that ask something like this one: `similar`, one row a template; limit=."""
        return self._get(f"/calls/{hexadecimal(span_id)}/similar", filters)

    def similar_to(self, text: str, **filters: Any) -> Answer:
        """Calls that ask something like a text: `similar`, one row a template; limit=."""
        return self._get("/similar", {"q": text, **filters})

    def agreement(self, **filters: Any) -> Answer:
        """How well each scorer agrees with people (`scorers`) and people with each other (`raters`); threshold=."""
        return self._get("/agreement", filters)

    def consistency(self, **filters: Any) -> Answer:
        """How often answers to the same prompt differ: `by_model` and the most inconsistent `prompts`."""
        return self._get("/consistency", filters)

    def compare(self, **filters: Any) -> Answer:
        """`changes` from the calls `before` to those `after`: since= against the period before, or versus_model=."""
        return self._get("/compare", filters)

    def drift(self, **filters: Any) -> Answer:
        """What moved in LLM calls against the period before (since=) or versus_...=: prompts, lengths, scores."""
        return self._get("/drift", filters, timeout=SLOW_SECONDS)

    def budgets(self) -> list[Answer]:
        """What is spent of each budget of the server's settings, and what it will be by the end of its period."""
        return self._get("/budgets", {})["budgets"]

    def sql(self, query: str) -> Answer:
        """What a SELECT over calls, scores_wide and sessions finds: `columns`, `rows`, whether it was `truncated`."""
        return self._parsed(self._request("POST", "/sql", json={"query": query}, timeout=None))

    def sql_frame(self, query: str) -> pd.DataFrame:
        """The rows that `sql` finds as a pandas DataFrame."""
        found = self.sql(query)
        names = [column["name"] for column in found["columns"]]
        return table([dict(zip(names, row, strict=True)) for row in found["rows"]], "started_at")

    def sql_schema(self) -> dict[str, list[Answer]]:
        """The columns (`name`, `type`) of each view that `sql` can read."""
        return self._get("/sql/schema", {})["views"]
