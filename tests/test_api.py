"""The HTTP API, asked over HTTP at a real server: what each answer looks like, and what wrong questions get."""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import Any

import httpx
import pytest
from dirty_equals import IsDatetime, IsFloat, IsInt, IsList, IsPartialDict, IsStr

from assay.records import FILTERS
from conftest import Server, chat_attributes, eventually, otlp

START_NS = 1_763_899_200_000_000_000  # 2025-11-23T12:00:00Z
SCORES = {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}


class Api:
    """GET and POST below /api of one server, in one project."""

    def __init__(self, server: Server, project: str) -> None:
        self.project = project
        self._client = httpx.Client(base_url=f"{server.url}/api", timeout=30, verify=False)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self._client.get(path, params={"project": self.project} | parameters)

    def ok(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        return answer.json()

    def score(self, **score: Any) -> httpx.Response:
        return self._client.post("/scores", json=score)

    def post_raw(self, body: bytes) -> httpx.Response:
        return self._client.post("/scores", content=body, headers={"Content-Type": "application/json"})


@pytest.fixture
def api(server: Server, project: str) -> Api:
    return Api(server, project)


@pytest.fixture
def span_id(server: Server, project: str) -> str:
    """An ordinary call of 2025-11-23T12:00:00Z, and an hour later one that failed."""
    span_id = secrets.token_hex(8)
    call = {**chat_attributes(), "session.id": "s1", "user.id": "ada", "gen_ai.response.id": f"id-{span_id}"}
    later = {"start_ns": START_NS + 3600 * 10**9, "error": "no answer", "error.type": "Timeout", "session.id": "s2"}
    request = otlp({"span_id": span_id, "start_ns": START_NS, "attributes": call}, later, project=project)
    assert server.post(request).status_code == 200
    return span_id


def scored(api: Api, span_id: str) -> None:
    """Waits until the follower has judged the call."""
    eventually(lambda: api.ok(f"/calls/{span_id}")["scores"].keys() >= SCORES)


def test_health_tells_that_all_is_well_and_what_came_in(api: Api, span_id: str) -> None:
    scored(api, span_id)
    eventually(lambda: api.ok("/health")["quality"]["scored_calls"])
    assert api.ok("/health") == {
        "status": "ok",
        "version": "0.1.0",
        "uptime_seconds": IsFloat(gt=0),
        "problems": [],
        "ingest": {
            "stored_spans": IsInt(ge=2),
            "refused_spans": IsInt(ge=0),
            "refused_requests": IsInt(ge=0),
            "stored_events": 0,
            "refused_events": 0,
            "deferred_requests": 0,
            "last_refusal": IsStr,
            "pending_bytes": 0,
            "pending_spans": 0,
            "journal_bytes": IsInt(ge=0),
            "reading_processes": IsInt(ge=0),
            "last_commit_at": IsFloat(approx=time.time(), delta=60),
        },
        "predictions": {
            "stored_predictions": IsInt(ge=0),
            "refused_predictions": IsInt(ge=0),
            "stored_labels": IsInt(ge=0),
            "refused_labels": IsInt(ge=0),
            "refused_requests": IsInt(ge=0),
            "deferred_requests": IsInt(ge=0),
            "last_refusal": IsStr,
            "pending_rows": 0,
            "pending_bytes": 0,
        },
        "settle": {"lag_seconds": IsFloat(ge=0)},
        "groups": {"lag_seconds": IsFloat(ge=0), "read_calls": IsInt(ge=0)},
        "quality": {
            "scored_calls": IsInt(ge=1),
            "lag_seconds": IsFloat(ge=0),
            "lanes": {
                "quality": {
                    "scored_calls": IsInt(ge=1),
                    "lag_seconds": IsFloat(ge=0),
                    "scores": sorted(SCORES),
                    "failures": {},
                }
            },
            "problems": [],
            "resting": {},
        },
        "judge": None,
    }


USAGE = {
    "total_conversations": 2,
    "total_calls": 2,
    "errors": 1,
    "error_rate": 0.5,
    "sessions": 2,
    "users": 1,
    "judge_calls": 0,
    "judge_cost_usd": 0.0,
    "total_cost_usd": IsFloat(approx=0.0009, delta=1e-9),
    "unpriced": 0,
    "estimated": 0,
    "avg_cost_per_conversation": IsFloat(approx=0.00045, delta=1e-9),
    "input_tokens": 2000,
    "output_tokens": 1000,
    "total_tokens": 3000,
    "cache_read_tokens": 0,
    "reasoning_tokens": 0,
    "avg_latency_ms": 800.0,
    "avg_time_to_first_token_ms": None,
    "p50_latency_ms": 800.0,
    "p95_latency_ms": 800.0,
    "p99_latency_ms": 800.0,
}


def test_usage_is_told_whole_and_for_each_value_of_a_dimension(api: Api, span_id: str) -> None:
    assert api.ok("/usage") == USAGE
    grouped = api.ok("/usage", group_by="status")
    groups = grouped.pop("groups")
    assert grouped == USAGE
    assert [(group["group"], group["total_calls"]) for group in groups] == [("error", 1), ("ok", 1)]
    assert all(group.keys() == {"group", *USAGE} - {"judge_calls", "judge_cost_usd"} for group in groups)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 2),
        ({"status": "error"}, 1),
        ({"session_id": "s1"}, 1),
        ({"user_id": "ada"}, 1),
        ({"model": "gpt-4o-mini-2024-07-18"}, 2),
        ({"model": "gpt-4o-mini"}, 0),
        ({"provider": "openai", "service": "tests", "environment": ""}, 2),
        ({"environment": "production"}, 0),
        ({"since": "2025-11-23T12:00:00Z"}, 2),
        ({"since": "2025-11-23T12:00:00.000001Z"}, 1),
        ({"until": "2025-11-23T13:00:00Z"}, 1),
        ({"since": "2025-11-23", "until": "2025-11-24"}, 2),
        ({"since": "2025-11-23T14:00:00+01:00"}, 1),
        ({"until": "52w", "since": "5000w"}, None),
    ],
)
def test_every_filter_means_the_same_for_usage_and_calls(
    api: Api, span_id: str, filters: dict[str, str], count: int | None
) -> None:
    told = api.ok("/usage", **filters)["total_calls"]
    assert told == len(api.ok("/calls", **filters)["calls"])
    assert count in (told, None)


def test_quality_is_told_whole_and_for_each_value_of_a_dimension(api: Api, span_id: str) -> None:
    scored(api, span_id)
    assert api.score(span_id=span_id, name="helpful", value=0.5).status_code == 201
    one = {"n": 1, "not_assessable": 0, "mean": 0.5, "low": None, "high": None, "min": 0.5, "max": 0.5}
    one |= {"p05": 0.5, "p50": 0.5, "p95": 0.5}
    told = api.ok("/quality")
    assert told == {"scores": IsPartialDict(helpful={"source": "human", **one, "by_source": {"human": one}})}
    assert told["scores"].keys() == SCORES | {"helpful"}
    grouped = api.ok("/quality", group_by="session_id")
    assert grouped == {"scores": told["scores"], "groups": {"s1": told["scores"]}}


def test_agreement_with_people_is_told_beside_that_of_people_with_each_other(api: Api, span_id: str) -> None:
    scored(api, span_id)
    for author, value in (("ada", 1), ("bob", 1), ("cy", 0)):
        assert api.score(span_id=span_id, name="thumb", value=value, author=author).status_code == 201
    told = api.ok("/agreement", threshold=0.4)
    assert (told["threshold"], told["labels"], told["cut"]) == (0.4, 3, False)
    assert {one["name"] for one in told["scorers"]} <= SCORES
    [relevance] = [one for one in told["scorers"] if one["name"] == "relevance"]
    assert relevance == {
        "name": "relevance",
        "source": "scorer",
        "scorer": "local",
        "against": "thumb",
        "direction": "higher is better",
        "scale": "binary",
        "n": 1,
        "ties": 0,
        "positives": 1,
        "auroc": None,
        "kappa": None,
        "suggestion": None,
        "reason": "1 labelled calls are too few: label 20 or more",
    }
    [raters] = told["raters"]
    assert raters == IsPartialDict(name="thumb", scale="binary", raters=3, calls=1, pairs=3)
    assert raters["alpha"] == {"value": IsFloat(approx=0.0, delta=1e-9), "low": 0.0, "high": 0.0}
    assert api.ok("/agreement", project="nobody's") == {
        "threshold": 0.5,
        "labels": 0,
        "cut": False,
        "scorers": [],
        "raters": [],
    }


def test_consistency_is_told_by_model(api: Api, server: Server, span_id: str) -> None:
    assert api.ok("/consistency") == {"cut": False, "by_model": [], "prompts": []}


def test_trends_are_points_in_time(api: Api, span_id: str) -> None:
    assert api.score(span_id=span_id, name="helpful", value=0.5).status_code == 201
    point = {
        "conversations": 1,
        "calls": 1,
        "errors": 0,
        "cost_usd": IsFloat(approx=0.00045, delta=1e-9),
        "unpriced": 0,
        "total_tokens": 1500,
        **{f"{name}_latency_ms": 800.0 for name in ("avg", "p50", "p95", "p99")},
    }
    told = api.ok("/trends", bucket="1h")
    assert told == {
        "bucket_seconds": 3600,
        "points": [
            point
            | {
                "bucket": "2025-11-23T12:00:00Z",
                "scores": IsPartialDict(helpful=0.5),
                "intervals": IsPartialDict(helpful={"n": 1, "low": None, "high": None}),
            },
            point | {"bucket": "2025-11-23T13:00:00Z", "scores": {}, "intervals": {}, "errors": 1},
        ],
        "tz": "UTC",
        "cut": False,
    }
    grouped = api.ok("/trends", bucket="1d", group_by="session_id")["points"]
    assert [(point["bucket"], point["group"]) for point in grouped] == [
        ("2025-11-23T00:00:00Z", "s1"),
        ("2025-11-23T00:00:00Z", "s2"),
    ]


def test_latencies_are_bins(api: Api, span_id: str) -> None:
    edges = {"from_ms": IsFloat(approx=681.3, delta=0.1), "to_ms": IsFloat(approx=1000, delta=0.1)}
    assert api.ok("/latencies") == {"bins": [edges | {"conversations": 2}]}


def test_calls_are_pages(api: Api, span_id: str) -> None:
    first = api.ok("/calls", limit=1)
    assert first == {
        "calls": [IsPartialDict(status="error", error_type="Timeout", error_message="no answer", scores={})],
        "next_cursor": IsStr(min_length=1),
    }
    second = api.ok("/calls", limit=1, cursor=first["next_cursor"])
    assert second == {
        "calls": [IsPartialDict(span_id=span_id, started_at="2025-11-23T12:00:00Z", session_id="s1")],
        "next_cursor": None,
    }
    whole = api.ok(f"/calls/{span_id}")
    assert second["calls"][0].keys() == whole.keys() - {"verdicts"}


def test_calls_are_found_by_their_words_and_their_trace(api: Api, span_id: str) -> None:
    trace_id = api.ok(f"/calls/{span_id}")["trace_id"]
    assert [call["span_id"] for call in api.ok("/calls", trace_id=trace_id)["calls"]] == [span_id]
    assert len(api.ok("/calls", q="MACHINE learning")["calls"]) == 2
    assert api.ok("/calls", q="quantum learning") == {"calls": [], "next_cursor": None}


def test_alerts_are_told_with_their_limits(api: Api, server: Server, project: str) -> None:
    slow = {"span_id": secrets.token_hex(8), "start_ns": START_NS, "end_ns": START_NS + 3 * 10**9}
    server.post(otlp(slow, project=project))
    told = api.ok("/alerts", recent=5)
    [high_latency] = [alert for alert in told["alerts"] if alert["type"] == "HIGH_LATENCY"]
    assert told == {"recent": 5, "alerts": IsList(length=...)}
    assert high_latency == {
        "type": "HIGH_LATENCY",
        "severity": "MEDIUM",
        "message": "High latency: 3000 ms",
        "span_id": slow["span_id"],
        "prompt": "What is machine learning?",
        "started_at": "2025-11-23T12:00:00Z",
        "metric": "latency_ms",
        "value": 3000.0,
        "threshold": 2000.0,
    }
    assert api.ok("/alerts")["recent"] == 10


def test_a_score_is_given_by_span_id_or_by_response_id(api: Api, span_id: str) -> None:
    answer = api.score(span_id=span_id.upper(), name="helpful", value=0.25, comment="so so", author="ada")
    assert (answer.status_code, answer.json()) == (201, {"span_id": span_id, "name": "helpful", "value": 0.25})
    answer = api.score(response_id=f"id-{span_id}", name="polite", label="yes", source="judge")
    assert (answer.status_code, answer.json()) == (201, {"span_id": span_id, "name": "polite", "value": None})
    told = api.ok(f"/calls/{span_id}")
    assert told["scores"] == IsPartialDict(helpful=0.25, polite=None)
    blank = {"label": "", "comment": "", "scorer": "", "scorer_version": "", "author": "", "confidence": None}
    assert [verdict for verdict in told["verdicts"] if verdict["source"] != "scorer"] == [
        blank | {"name": "helpful", "value": 0.25, "source": "human", "comment": "so so", "author": "ada"},
        blank | {"name": "polite", "value": None, "source": "judge", "label": "yes"},
    ]


def test_a_person_who_scores_again_has_changed_their_mind(api: Api, span_id: str) -> None:
    for value in (0.0, 1.0):
        assert api.score(span_id=span_id, name="helpful", value=value, author="ada").status_code == 201
    assert api.ok("/quality")["scores"]["helpful"] == IsPartialDict(n=1, mean=1.0)


@pytest.mark.parametrize("key", ["span_id", "response_id"])
def test_a_score_of_an_unknown_call_is_not_found(api: Api, key: str) -> None:
    answer = api.score(**{key: "nowhere"}, name="helpful", value=1)
    assert answer.status_code == 404
    assert answer.json() == {
        "error": f"no call with {key} 'nowhere' is stored; if it was sent just now, try again in a few seconds"
    }


def test_a_span_that_two_projects_hold_can_be_scored(api: Api, server: Server) -> None:
    span = {"span_id": secrets.token_hex(8), "trace_id": secrets.token_hex(16), "start_ns": START_NS}
    for project in (api.project, f"{api.project}-other"):
        server.post(otlp(span, project=project))
    assert api.score(span_id=span["span_id"], name="helpful", value=1).status_code == 201


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "two words"}, "name"),
        ({"name": "a`; DROP TABLE scores --"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "new\nline"}, "name"),
        ({"name": "ends\n"}, "name"),
        ({"name": None}, "name"),
        ({"value": "high"}, "value"),
        ({"value": None}, "give a value, a label or a comment"),
        ({"span_id": ""}, "give either span_id or response_id"),
        ({"response_id": "b"}, "give either span_id or response_id"),
        ({"source": "dog"}, "source"),
        ({"comment": "x" * 10_001}, "comment"),
        ({"label": "x" * 201}, "label"),
        ({"author": "x" * 201}, "author"),
        ({"extra": 1}, "extra"),
        ({"value": float("nan")}, "value"),
        ({"value": float("inf")}, "value"),
        ({"value": 10**400}, "value"),
        ({"comment": "\ud800"}, "comment"),
    ],
)
def test_a_score_that_is_wrong_is_refused_by_the_name_of_its_field(
    api: Api, span_id: str, change: dict[str, Any], said: str
) -> None:
    body = {"span_id": span_id, "name": "refused", "value": 1} | change
    answer = api.post_raw(json.dumps(body).encode())
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert "refused" not in api.ok("/quality")["scores"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_score_is_refused(api: Api, body: bytes) -> None:
    assert api.post_raw(body).status_code in (400, 422)


@pytest.mark.parametrize(
    ("path", "parameters", "said"),
    [
        ("/usage", {"since": "yesterday"}, "'yesterday' is no point in time: write an age such as 30m"),
        ("/usage", {"since": "999999w"}, "no point in time"),
        ("/usage", {"group_by": "prompt"}, "cannot group by 'prompt': choose one of project, environment"),
        ("/quality", {"group_by": "mood"}, "cannot group by 'mood': choose one of project, environment"),
        ("/trends", {"bucket": "often"}, "'often' is no length of time"),
        ("/trends", {"group_by": "name"}, "cannot group by 'name'"),
        ("/calls", {"order": "name"}, "cannot order by 'name': choose one of started_at, cost, latency"),
        ("/calls", {"limit": "0"}, "limit must be between 1 and 1000, not 0"),
        ("/calls", {"limit": "1001"}, "limit must be between 1 and 1000, not 1001"),
        ("/calls", {"cursor": "abc"}, "cursor 'abc' was not given by this API"),
        ("/export", {"format": "xml"}, "cannot export 'xml': choose one of csv, jsonl, parquet"),
        ("/report", {"format": "xml"}, "cannot write a report as 'xml'"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(
    api: Api, path: str, parameters: dict[str, str], said: str
) -> None:
    answer = api.get(path, **parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json() == {"error": IsStr(regex=f".*{said}.*")}


@pytest.mark.parametrize(
    "since",
    ["0001-01-01", "0001-01-01T00:00:00+14:00", "1899-01-01", "2400-01-01", "9999-12-31T23:59:59-14:00", "99999w"],
)
@pytest.mark.parametrize(
    "path", ["/usage", "/trends", "/report", "/export", "/compare", "/groups", "/sessions", "/costs"]
)
def test_a_time_at_the_edge_of_the_calendar_is_answered_or_refused(api: Api, path: str, since: str) -> None:
    for name in ("since", "until"):
        assert api.get(path, **{name: since}).status_code in (200, 400)


@pytest.mark.parametrize("since", ["0001-01-01", "1899-12-31", "1969-12-31"])
def test_a_time_before_all_calls_selects_all_and_one_after_all_none(api: Api, span_id: str, since: str) -> None:
    assert api.ok("/usage", since=since, until="2400-01-01")["total_calls"] == 2
    assert api.ok("/usage", until=since)["total_calls"] == 0
    assert api.ok("/usage", since="2400-01-01")["total_calls"] == 0


@pytest.mark.parametrize(("path", "name"), [("/calls", "limit"), ("/alerts", "recent")])
def test_a_number_that_is_none_is_refused(api: Api, path: str, name: str) -> None:
    answer = api.get(path, **{name: "many"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", name]


@pytest.mark.parametrize("recent", ["0", "1001", "-1"])
def test_alerts_look_at_one_to_a_thousand_calls(api: Api, recent: str) -> None:
    assert api.get("/alerts", recent=recent).status_code == 422


def test_what_is_not_there_is_not_found(api: Api) -> None:
    answer = api.get("/calls/ffff")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "no span 'ffff' is stored; it may still be on its way"},
    )
    assert api.get("/nothing").status_code == 404


def test_every_route_is_in_the_openapi_document(api: Api) -> None:
    document = api.ok("/openapi.json")
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        ("GET", "/health"),
        ("GET", "/usage"),
        ("GET", "/names"),
        ("GET", "/costs/what-if"),
        ("GET", "/quality/distribution"),
        ("GET", "/quality/worst"),
        ("GET", "/labels"),
        ("POST", "/labels"),
        ("GET", "/predictions"),
        ("POST", "/predictions"),
        ("GET", "/comparison"),
        ("GET", "/drift"),
        ("GET", "/models"),
        ("GET", "/models/{model}/data-quality"),
        ("GET", "/models/{model}/drift"),
        ("GET", "/models/{model}/estimated"),
        ("GET", "/models/{model}/performance"),
        ("POST", "/quality/backfill"),
        ("POST", "/quality/fit"),
        ("GET", "/quality/fits"),
        ("GET", "/quality/thresholds"),
        ("POST", "/quality/use"),
        ("GET", "/agreement"),
        ("GET", "/consistency"),
        ("GET", "/quality"),
        ("GET", "/trends"),
        ("GET", "/latencies"),
        ("GET", "/top"),
        ("GET", "/sessions"),
        ("GET", "/sessions/{session_id}"),
        ("GET", "/errors"),
        ("GET", "/costs"),
        ("GET", "/speed"),
        ("GET", "/traces/{trace_id}"),
        ("POST", "/reprice"),
        ("GET", "/doctor"),
        ("GET", "/calls"),
        ("GET", "/calls/{span_id}"),
        ("POST", "/scores"),
        ("GET", "/alerts"),
        ("POST", "/alerts/test"),
        ("GET", "/incidents"),
        ("GET", "/incidents/{incident_id}"),
        ("POST", "/incidents/{incident_id}/acknowledge"),
        ("POST", "/incidents/{incident_id}/comment"),
        ("POST", "/incidents/{incident_id}/silence"),
        ("GET", "/silences"),
        ("POST", "/silences"),
        ("DELETE", "/silences/{silence_id}"),
        ("GET", "/rules"),
        ("POST", "/replay"),
        ("GET", "/deliveries"),
        ("GET", "/export"),
        ("GET", "/report"),
        ("GET", "/reports"),
        ("POST", "/reports/{name}/send"),
        ("POST", "/import"),
        ("GET", "/compare"),
        ("GET", "/budgets"),
        ("POST", "/sql"),
        ("GET", "/sql/schema"),
        ("GET", "/groups"),
        ("GET", "/groups/{group_id}"),
        ("POST", "/groups/refit"),
        ("GET", "/calls/{span_id}/similar"),
        ("GET", "/similar"),
    }
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert all(operation["description"] for operation in operations)
    group_by = [p for p in document["paths"]["/usage"]["get"]["parameters"] if p["name"] == "group_by"]
    assert "model" in json.dumps(group_by)
    # Served below /api: a client made from this document must ask there.
    assert document["servers"] == [{"url": "/api"}]
    assert api.get("/docs").status_code == 200


INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE spans; --",
    "\\' OR 1=1 --",
    "{project:String}",
    "%(project)s %s %",
    "x') UNION ALL SELECT * FROM scores --",
    "`; TRUNCATE TABLE scores --",
    "\\",
    "\0",
]


QUESTIONS = ("/usage", "/quality", "/trends", "/export")
"""Those that know no search and no trace; each filter is tried with one of them, the next text with the next."""


@pytest.mark.parametrize(("turn", "text"), list(enumerate(INJECTIONS)))
def test_sql_in_a_question_is_only_text(api: Api, span_id: str, turn: int, text: str) -> None:
    for place, name in enumerate(FILTERS):
        question = QUESTIONS[(turn + place) % len(QUESTIONS)]
        assert api.get(question, **{name: text}).status_code == 200, (question, name)
    for name in (*FILTERS, "trace_id"):
        assert api.ok("/calls", **{name: text})["calls"] == []
    assert api.ok("/usage", session_id=text)["total_calls"] == 0
    assert api.get("/calls", q=text).status_code == (200 if re.search(r"\w", text) else 400)
    assert api.ok("/usage", tag=f"{text}:{text}")["total_calls"] == 0
    assert api.ok("/usage", group_by=f"tag:{text}")["groups"][0]["group"] == ""
    for path, name in [
        ("/usage", "group_by"),
        ("/quality", "group_by"),
        ("/trends", "group_by"),
        ("/trends", "bucket"),
        ("/calls", "order"),
        ("/calls", "cursor"),
        ("/usage", "since"),
        ("/export", "format"),
    ]:
        assert api.get(path, **{name: text}).status_code == 400
    assert api.score(span_id=text, name="helpful", value=1).status_code == 404
    assert api.score(response_id=text, name="helpful", value=1).status_code == 404
    assert api.score(span_id=span_id, name=text, value=1).status_code == 422
    assert api.score(span_id=span_id, name="helpful", comment=text, author=text, label=text).status_code == 201
    [verdict] = [v for v in api.ok(f"/calls/{span_id}")["verdicts"] if v["name"] == "helpful"]
    assert (verdict["comment"], verdict["author"], verdict["label"]) == (text, text, text)
    assert api.ok("/usage")["total_calls"] == 2


def test_texts_of_users_come_back_as_they_were_sent(api: Api, server: Server, project: str) -> None:
    prompt = "<script>alert('é\U0001f600')</script> \\ \" \u2028 \0 end"
    span_id = secrets.token_hex(8)
    attributes = chat_attributes(prompt=prompt) | {"session.id": "' OR 1=1"}
    server.post(otlp({"span_id": span_id, "attributes": attributes}, project=project))
    told = api.ok(f"/calls/{span_id}")
    assert (told["prompt"], told["session_id"]) == (prompt, "' OR 1=1")
    assert told["started_at"] == IsDatetime(iso_string=True)
    assert api.ok("/usage", session_id="' OR 1=1")["total_calls"] == 1
