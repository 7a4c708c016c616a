"""What the overview says of its figures before it is drawn: changes, means over all buckets, lines with holes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerting import write_calls
from assay.analytics.names import names
from assay.analytics.selection import Selection
from assay.analytics.summaries import quality, usage
from assay.analytics.trends import trends
from assay.dashboard.data import Filter, Names
from assay.dashboard.gaps import LONGEST_HOLE, broken
from assay.dashboard.headline import FEWEST_CALLS, change
from assay.dashboard.overview_data import mean_score
from assay.dashboard.thread import news
from assay.dashboard.transcript import Part, Turn
from assay.store.connect import Store

NOON = 1_767_614_400

BEFORE = {"since": "2026-11-23T12:00:00Z", "until": "2026-11-24T12:00:00Z"}
CHANGE: dict[str, Any] = {
    "before": 1000.0,
    "difference": 250.0,
    "n_before": 100,
    "n_after": 100,
    "better": "lower",
    "verdict": "worse",
}


@pytest.mark.parametrize(
    ("more", "first_at", "told"),
    [
        ({}, "", ("+25%", "red")),
        ({"verdict": "better", "difference": -250.0}, "", ("−25%", "green")),
        ({"verdict": "same"}, "", ("no clear change", "gray")),
        ({"verdict": "unknown"}, "", ("", "gray")),
        ({"n_before": FEWEST_CALLS - 1}, "", ("", "gray")),
        ({"before": 0.0}, "", ("", "gray")),
        ({"before": None, "difference": None}, "", ("", "gray")),
        ({"better": None, "verdict": "unknown"}, "2026-11-01T00:00:00Z", ("+25%", "gray")),
        # The store began in the middle of the time before: a total of half a day is no total of a day.
        ({"better": None, "verdict": "unknown"}, "2026-11-24T00:00:00Z", ("", "gray")),
    ],
)
def test_a_change_is_told_only_where_there_is_enough_to_tell_it(
    more: dict[str, Any], first_at: str, told: tuple[str, str]
) -> None:
    assert change(CHANGE | more, BEFORE, first_at) == told
    assert change(None, BEFORE, first_at) == ("", "gray")


def test_the_mean_of_all_buckets_is_that_of_the_whole_time(store: Store, project: str) -> None:
    calls = [
        {"at": NOON + 300 * number, "session_id": str(number), "scores": {"relevance": number / 40}}
        for number in (0, 1, 2, 17, 18, 40)
    ]
    write_calls(store, project, [*calls, {"at": NOON, "scores": {"relevance": None}}])
    selection = Selection(project=project)

    points = trends(store, selection, "10m").points
    told = quality(store, selection)["relevance"]

    mean, n = mean_score(points, "relevance")
    assert (mean, n) == (pytest.approx(told["mean"]), told["n"] == 6 and 6)
    assert mean_score(points, "coherence") == (None, 0)


def test_a_line_stops_where_there_was_nothing_for_long() -> None:
    start = datetime(2026, 11, 25, tzinfo=UTC)
    rows = [
        {"time": start + timedelta(minutes=minute), "score": score, "value": 1.0}
        for score, minutes in (("a", (0, 1, 5, 30)), ("b", (0, LONGEST_HOLE + 1)))
        for minute in minutes
    ]

    drawn = broken(rows, 60, "score")

    of_a = [row.get("value") for row in drawn if row["score"] == "a"]
    assert of_a == [1.0, 1.0, 1.0, None, 1.0]
    assert [row.get("value") for row in drawn if row["score"] == "b"] == [1.0, 1.0]
    assert [row["time"] for row in drawn] == sorted(row["time"] for row in drawn if row["score"] == "a") + [
        row["time"] for row in drawn if row["score"] == "b"
    ]
    assert broken(rows, None, "score") == [*rows]


def test_a_thread_tells_only_what_is_new_and_an_agent_that_begins_anew_from_its_question_on() -> None:
    system, hi, hello = (
        Turn(role, [Part(text)]) for role, text in (("system", "S"), ("user", "Hi"), ("assistant", "Hey"))
    )
    more, other = Turn("user", [Part("More")]), Turn("system", [Part("Another")])

    assert news([], [system, hi, hello]) == [system, hi, hello]
    assert news([system, hi, hello], [system, hi, hello, more, hello]) == [more, hello]
    assert news([system, hi, hello], [other, hi, hello, more]) == [more]
    assert news([system, hi, hello], [other]) == [other]


def test_calls_are_chosen_by_how_long_they_took_with_their_scores(store: Store, project: str) -> None:
    write_calls(
        store,
        project,
        [{"at": NOON, "latency_ms": float(took), "scores": {"relevance": took / 100}} for took in (10, 20, 30, 40)],
    )
    selection = Selection(project=project, min_latency_ms=20, max_latency_ms=40)

    assert usage(store, selection)["total_calls"] == 2
    assert quality(store, selection)["relevance"]["mean"] == pytest.approx(0.25)


def test_the_names_to_filter_by_are_those_of_counted_calls(store: Store, project: str) -> None:
    write_calls(
        store,
        project,
        [
            {
                "at": NOON - 10**8,
                "response_model": f"{project}-m",
                "environment": f"{project}-e",
                "attributes": {"service.version": f"{project}-r"},
            },
            {"at": NOON, "response_model": f"{project}-not-counted", "counted": False},
        ],
    )

    told = names(store, 100_000)  # other tests have projects of their own in this store

    assert project in told["projects"]
    assert f"{project}-m" in told["models"]
    assert f"{project}-not-counted" not in told["models"]
    assert f"{project}-e" in told["environments"]
    assert f"{project}-r" in told["releases"]
    assert told["first_at"].timestamp() <= NOON - 10**8


def test_names_only_ever_join() -> None:
    known = Names(("a",), ("m",), (), ("1",), first_at="2026-01-01T00:00:00Z")

    assert known.knows(Names(("a",), ()))
    assert not known.knows(Names(("b",)))
    assert known.joined(Names(("b",), ("m",), ("e",))) == Names(
        ("a", "b"), ("m",), ("e",), ("1",), first_at="2026-01-01T00:00:00Z"
    )


def test_what_is_chosen_is_asked_and_linked_alike() -> None:
    chosen = Filter(range="7d", model="", since="2026-11-25T10:00:00Z", release="1.2")

    assert chosen.asked()["since"] == "2026-11-25T10:00:00Z"
    assert chosen.address() == {"model": "", "release": "1.2", "since": "2026-11-25T10:00:00Z"}
    assert Filter(range="all").asked()["since"] is None
    assert Filter().address() == {"range": "24h"}
