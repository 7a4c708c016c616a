"""How scores are spread, and which calls they speak of worst: the same as counted in Python."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.analytics.distribution import BINS, distributions, worst_of
from assay.analytics.selection import Selection
from assay.errors import AssayError
from assay.ingest.batch import SPAN_SCHEMA
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores

START = 1_764_000_000_000_000

within = st.none() | st.sampled_from([0.0, 0.05, 0.5, 0.949999, 0.95, 1.0]) | st.floats(0, 1)
beyond = st.none() | st.sampled_from([-3.0, 1.0, 5.0]) | st.floats(-10, 10)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@example(values=[1.0, 2.0, 3.0, 4.0, 5.0], versions=["1"])
@example(values=[None], versions=["1"])
@given(st.lists(within, min_size=1, max_size=15) | st.lists(beyond, min_size=1, max_size=15), st.just(["1", "2"]))
def test_bins_hold_every_known_value_once(store: Store, values: list[float | None], versions: list[str]) -> None:
    project = secrets.token_hex(4)
    scored(store, project, *(given_score(value, version=versions[n % len(versions)]) for n, value in enumerate(values)))
    # Another source's verdicts are not mixed in.
    scored(store, project, given_score(0.3, source="human"))

    [found] = distributions(store, Selection(project=project))

    known = [value for value in values if value is not None]
    assert (found.source, found.n, found.not_assessable) == ("scorer", len(known), len(values) - len(known))
    assert sum(one.calls for one in found.bins) == len(known)
    assert len(found.bins) == (BINS if known else 0)
    assert {(judge.version, judge.calls) for judge in found.judges} == {
        (version, len(values[n :: len(versions)])) for n, version in enumerate(versions) if values[n :: len(versions)]
    }
    for one in found.bins if all(0 <= value <= 1 for value in known) else []:
        last = one is found.bins[-1]
        # The edges themselves are binary fractions: a value within rounding of one may be on either side.
        surely = [value for value in known if one.low + 1e-9 < value < one.high - 1e-9 or (last and value == 1)]
        maybe = [value for value in known if one.low - 1e-9 <= value <= one.high + 1e-9]
        assert len(surely) <= one.calls <= len(maybe)


def test_the_worst_calls_come_with_the_reason_of_the_verdict_that_counts(store: Store, project: str) -> None:
    ids = scored(store, project, *(given_score(value, comment=f"because {value}") for value in (0.9, 0.2, 1.0, 0.4)))
    scored(store, project, given_score(0.0, source="human", target=ids[1], comment="not this one"))
    found = worst_of(store, Selection(project=project), "relevance", limit=2)
    assert [(one.span_id, one.value, one.reason) for one in found] == [
        (ids[1], 0.2, "because 0.2"),
        (ids[3], 0.4, "because 0.4"),
    ]
    by_people = worst_of(store, Selection(project=project), "relevance", source="human")
    assert [(one.span_id, one.reason) for one in by_people] == [(ids[1], "not this one")]
    with pytest.raises(AssayError, match="they have relevance"):
        worst_of(store, Selection(project=project), "relevence")


anything = st.none() | st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 5e-324, 1e300]) | st.floats(-2, 2)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@example(values=[0.0, -0.0, -1.0, 0.5, 0.5], name="relevance")
@example(values=[1.0, 5.0, 4.0], name="relevance")
@example(values=[0.5, 1e300, 5e-324, 0.0, -0.0], name="toxicity")
@given(st.lists(anything, min_size=1, max_size=12), st.sampled_from(["relevance", "toxicity"]))
def test_the_worst_are_those_of_any_values_and_of_equal_ones_the_newest(
    store: Store, values: list[float | None], name: str
) -> None:
    project = secrets.token_hex(4)
    ids = scored(store, project, *(given_score(value, name=name, second=n) for n, value in enumerate(values)))

    found = worst_of(store, Selection(project=project), name, limit=5)

    perfect, sign = (0.0, -1) if name == "toxicity" else (1.0, 1)
    known = sorted((sign * value, -n) for n, value in enumerate(values) if value is not None)
    within = bool(known) and known[-1][0] <= perfect
    worst = [(goodness, place) for goodness, place in known if not (within and goodness == perfect)]
    assert [one.span_id for one in found] == [ids[-place] for _, place in worst[:5]]


def given_score(value: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, **more}


def scored(store: Store, project: str, *given: dict[str, Any]) -> list[str]:
    """Store a call for each of these verdicts unless it names its target; answers the ids."""
    ids = [one.get("target") or secrets.token_hex(8) for one in given]
    spans = [
        Span(trace_id="t", span_id=id, project=project, kind="llm", counted=True, status="ok", started_at=_start(one))
        for id, one in zip(ids, given, strict=True)
        if "target" not in one
    ]
    if spans:
        store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), START))
    insert_scores(
        store,
        [
            Score(
                target=id,
                name=one.get("name", "relevance"),
                value=one["value"],
                scorer="tests",
                scorer_version=one.get("version", "1"),
                source=one.get("source", "scorer"),
                comment=one.get("comment", ""),
                counted=True,
                project=project,
                started_at=_start(one),
            )
            for id, one in zip(ids, given, strict=True)
        ],
    )
    return ids


def _start(one: dict[str, Any]) -> int:
    return START + one.get("second", 0) * 1_000_000
