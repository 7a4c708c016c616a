"""What to do about what a report tells: every sentence rests on a figure that stands in it."""

from __future__ import annotations

from collections.abc import Iterable

from assay import figures
from assay.reports.content import Report
from assay.store.connect import Row

RELEVANCE_WANTED = 0.7
TOXICITY_BORNE = 0.1
LATENCY_BORNE_MS = 2000
COST_BORNE_USD = 0.05
ERRORS_BORNE = 0.01
UNKNOWN_BORNE = 0.05
"""Of this share of calls something may be unknown before it is worth a sentence."""
MOST_OF_COST = 0.5


def recommendations(report: Report) -> list[str]:
    """What to do first, then what is within its limits: quality, speed and cost always, the rest where it went wrong.

    Empty where there was no call.
    """
    if report.empty:
        return []
    said = [_on_quality(report.scores), _on_latency(report.usage), _on_cost(report.usage)]
    well = [one for one in said if "within" in one]
    return [
        *_on_falls(report),
        *(one for one in said if one not in well),
        *_on_errors(report),
        *_on_drivers(report),
        *_on_gaps(report),
        *well,
    ]


def _on_quality(scores: dict[str, Row]) -> str:
    relevance, toxicity = (_mean(scores, name) for name in ("relevance", "toxicity"))
    if relevance is None or toxicity is None:
        return "Quality is not scored yet: nothing to recommend on it."
    said = f"relevance {_sure(scores['relevance'])}, toxicity {_sure(scores['toxicity'])}"
    if relevance > RELEVANCE_WANTED and toxicity < TOXICITY_BORNE:
        return f"Quality is within its limits: {said}."
    wanted = f"relevance above {RELEVANCE_WANTED} and toxicity below {TOXICITY_BORNE} are wanted"
    return f"Quality is beyond its limits: {said}; {wanted}. Read the worst conversations below."


def _on_latency(used: Row) -> str:
    average, p95 = used["avg_latency_ms"], figures.milliseconds(used["p95_latency_ms"])
    if average is None:
        return "No conversation in this time: nothing to recommend on speed."
    said = f"{figures.milliseconds(average)} on average, 5% took longer than {p95}"
    if average < LATENCY_BORNE_MS:
        return f"Speed is within the limit of 2 s on average: {said}."
    return f"Answers are slow: {said}. Try a smaller model, shorter answers, or streaming."


def _on_cost(used: Row) -> str:
    average = used["avg_cost_per_conversation"]
    if average is None:
        return "Costs are unknown: no conversation has a model with a known price. Add one to assay.toml."
    said = f"{figures.dollars(average)} a conversation"
    if average < COST_BORNE_USD:
        return f"Costs are within the limit of ${COST_BORNE_USD} a conversation: {said}."
    return f"Costs are high: {said}. Look at the cost drivers below, and at the length of prompts."


def _on_errors(report: Report) -> Iterable[str]:
    if not report.errors or report.usage["error_rate"] <= ERRORS_BORNE:
        return
    most = report.errors[0]
    share = figures.percent(report.usage["error_rate"])
    name = most["error_type"] or "an error without a type"
    yield f"{share} of calls failed, most often with {name} ({figures.count(most['errors'])}): see the errors below."


def _on_falls(report: Report) -> Iterable[str]:
    """What certainly got worse, each with its interval."""
    worse = [change.sentence for change in report.clear_changes if change.verdict == "worse"]
    if worse:
        yield f"Worse than before: {'; '.join(worse)}. Compare prompts, models and releases of both periods."


def _on_drivers(report: Report) -> Iterable[str]:
    for drivers in report.drivers:
        top = drivers.rows[0] if drivers.rows else None
        if not top or len(drivers.rows) < 2 or not top["group"] or (top["share"] or 0) <= MOST_OF_COST:
            continue
        what = "The " + drivers.dimension.removeprefix("tag:").removesuffix("_id")
        calls = figures.percent(top["total_calls"] / report.usage["total_calls"])
        share = figures.percent(top["share"])
        yield f"{what} {top['group']} takes {share} of the cost with {calls} of the calls."


def _on_gaps(report: Report) -> Iterable[str]:
    for gap in report.gaps:
        if gap.of and gap.calls / gap.of > UNKNOWN_BORNE and not gap.key.startswith("not_assessable"):
            of = f"{figures.count(gap.calls)} of {figures.count(gap.of)}"
            yield f"{of} calls {gap.says}: {gap.fix}."


def _mean(scores: dict[str, Row], name: str) -> float | None:
    return scores[name]["mean"] if name in scores else None


def _sure(row: Row) -> str:
    interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
    return f"{figures.score(row['mean'])}{interval}"
