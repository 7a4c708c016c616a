"""The questions about use as people ask them: over HTTP, by the Python client, and by commands, of a real server."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from typer.testing import CliRunner

from assay.cli import app
from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, NotFound
from conftest import Server, chat_attributes, key_values, otlp

HOSTILE = "[red]x[/red]/../?a=b"
"""A session id that is markup, a path and a query at once."""


class Asked(NamedTuple):
    """A project with three calls of two releases and two teams, on a server."""

    url: str
    project: str
    monitor: Monitor


@pytest.fixture(scope="module")
def asked(server: Server) -> Iterator[Asked]:
    project = f"use-{secrets.token_hex(4)}"
    ada = {"user.id": "ada", "session.id": HOSTILE, "team": "search"}
    bob = {"user.id": "bob", "session.id": "b", "team": "shop: returns", "error.type": "RateLimitError"}
    cached = {**chat_attributes("Why?"), **ada, "gen_ai.usage.cache_read.input_tokens": 400}
    began = time.time_ns() - 10**10
    for release, spans in {
        "1.0": [{"attributes": {**chat_attributes("Why?"), **ada}, "start_ns": began}, {"attributes": cached}],
        "2.0": [{"attributes": {**chat_attributes("How?"), **bob}, "error": "[bold]wait[/bold]"}],
    }.items():
        request = otlp(*spans, project=project)
        request.resource_spans[0].resource.attributes.extend(key_values({"service.version": release}))
        assert server.post(request).status_code == 200
    with connect(server.url) as monitor:
        yield Asked(server.url, project, monitor)


def test_calls_are_filtered_and_grouped_by_release_and_by_tags(asked: Asked) -> None:
    ask, own = asked.monitor, {"project": asked.project}
    assert {row["group"]: row["total_calls"] for row in ask.usage(group_by="release", **own)["groups"]} == {
        "1.0": 2,
        "2.0": 1,
    }
    assert ask.usage(release="1.0", **own)["total_calls"] == 2
    assert ask.usage(tag=["team:shop: returns"], **own)["total_calls"] == 1
    assert ask.usage(tag=["team:search", "team:shop"], **own)["total_calls"] == 0
    assert ask.usage(error_type="RateLimitError", operation="chat", **own)["errors"] == 1
    assert [row["group"] for row in ask.top("tag:team", by="calls", **own)["top"]] == ["search", "shop: returns"]
    assert [row["group"] for row in ask.top("prompts", by="calls", **own)["top"]] == ["Why?", "How?"]


def test_every_question_is_answered_by_the_client(asked: Asked) -> None:
    ask, own = asked.monitor, {"project": asked.project}
    found = ask.sessions(order="calls", limit=1, **own)
    assert [(one["session_id"], one["calls"], one["users"]) for one in found["sessions"]] == [(HOSTILE, 2, ["ada"])]
    [last] = ask.sessions(order="calls", limit=1, cursor=found["next_cursor"], **own)["sessions"]
    assert last["last_error"]["error_type"] == "RateLimitError"
    thread = ask.session(HOSTILE, **own)
    assert [len(one["calls"]) for one in thread["traces"]] == [1, 1]
    assert thread["traces"][0]["calls"][0]["prompt"] == "Why?"
    with pytest.raises(NotFound, match="no session 'nobody' is stored"):
        ask.session("nobody", **own)
    failed = ask.errors(**own)
    assert (failed["errors"], failed["types"][0]["share"]) == (1, 1.0)
    cost = ask.costs(group_by="user", **own)
    assert cost["cache_saved_usd"] == pytest.approx(400 * 0.075e-6)
    assert [row["group"] for row in cost["groups"]] == ["ada", "bob"]
    assert sum(row["share"] for row in cost["groups"]) == pytest.approx(1)
    assert ask.speed(**own)["p50_output_tokens_per_second"] == pytest.approx(500 / 0.8)
    trend = ask.trends(metric=["calls", "cost_usd"], bucket="1mo", tz="Asia/Kathmandu", **own)
    assert (trend["tz"], trend["bucket_seconds"]) == ("Asia/Kathmandu", None)
    assert sum(point["calls"] for point in trend["points"]) == 3


def test_tables_come_as_data_frames(asked: Asked) -> None:
    ask, own = asked.monitor, {"project": asked.project}
    assert list(ask.frame("top", "users", by="calls", **own)["group"]) == ["ada", "bob"]
    assert str(ask.frame("sessions", **own)["last_at"].dtype).startswith("datetime64[")
    assert list(ask.frame("costs", group_by="release", **own)["calls"]) == [2, 1]
    assert set(ask.trends_frame(metric="calls", group_by="user", **own)["group"]) == {"ada", "bob"}
    with pytest.raises(AssayError, match="add group_by=, for example group_by='model'"):
        ask.frame("costs", **own)
    with pytest.raises(AssayError, match="no table of 'weather': choose one of top, sessions"):
        ask.frame("weather")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (
            "usage?modle=gpt-4o",
            "no parameter 'modle' (did you mean 'model'?): this question takes environment,",
        ),
        ("usage?group_by=colour", "cannot group by 'colour': choose one of project,"),
        ("usage?tag=team", "'team' is no tag: write KEY:VALUE"),
        ("quality?group_by=colour", "or tag:KEY for an attribute"),
        ("trends?metric=beauty", "there is no metric 'beauty': choose of calls, conversations,"),
        ("trends?bucket=1y", "'1y' is no length of time: write for example 30s"),
        ("trends?tz=Mars/Olympus", "there is no time zone 'Mars/Olympus'"),
        ("top?group_by=users&by=beauty", "cannot rank by 'beauty': choose one of cost, calls, tokens, latency"),
        ("sessions?order=name", "cannot order sessions by 'name'"),
        ("costs?since=tomorrow", "'tomorrow' is no point in time"),
    ],
)
def test_what_is_not_known_is_answered_by_what_is(server: Server, question: str, told: str) -> None:
    answer = httpx.get(f"{server.url}/api/{question}", timeout=30)
    assert answer.status_code == 400
    assert told in answer.json()["error"]


def command(asked: Asked, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--url", asked.url, "--project", asked.project])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_commands_show_tables_in_which_texts_of_users_are_texts(asked: Asked) -> None:
    shown = {
        name: command(asked, *name.split())
        for name in (
            "usage --group-by release",
            "top users",
            "sessions",
            "errors --group-by tag:team",
            "costs",
            "speed",
        )
    }
    assert HOSTILE in shown["sessions"]
    assert "1 of 3 calls failed" in shown["errors --group-by tag:team"]
    assert "[bold]wait[/bold]" in shown["errors --group-by tag:team"]
    assert "ada" in shown["top users"]
    assert "2 of 2 values of user_id" in shown["top users"]
    assert "Saved by caching" in shown["costs"]
    assert "gpt-4o-mini-2024-07-18" in shown["speed"]
    assert "2.0" in shown["usage --group-by release"]
    thread = command(asked, "sessions", HOSTILE)
    assert f"Session {HOSTILE}: 2 calls" in thread
    trend = command(asked, "trends", "--bucket", "1d", "--tz", "Asia/Kathmandu", "--metric", "calls")
    assert "Begin (Asia/Kathmandu)" in trend
    assert " 00:00 " in trend


def test_commands_answer_in_json_and_say_when_there_is_nothing(asked: Asked) -> None:
    found = json.loads(command(asked, "top", "users", "--by", "calls", "--tag", "team:search", "--json"))
    assert [row["group"] for row in found["top"]] == ["ada"]
    for name in ("usage", "trends", "top users", "errors", "costs", "speed"):
        assert "No calls match" in command(asked, *name.split(), "--user", "nobody")
    assert "No sessions match" in command(asked, "sessions", "--user", "nobody")
    narrowed = CliRunner().invoke(app, ["sessions", "b", "--model", "gpt-4o", "--url", asked.url])
    assert narrowed.exit_code == 2
    assert "one session is shown whole: leave out model" in narrowed.output
