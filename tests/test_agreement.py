"""Agreement statistics are those of the literature, and the store's answer is theirs over the same rows."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.analytics import agreement as asked
from assay.analytics.agreement import agreement_with_people
from assay.analytics.means import GROUPS
from assay.analytics.ppi import Sums, estimate, with_judged
from assay.analytics.selection import Selection
from assay.analytics.summaries import quality
from assay.quality.agreement import auroc, cohen_kappa, interval, krippendorff_alpha, spearman
from assay.quality.cutoff import agreement
from assay.records import Score
from assay.store.connect import Store
from assay.store.scores import insert_scores

START = 1_763_899_200_000_000


def said(project: str, target: str, name: str, value: float | None, author: str = "", **more: Any) -> Score:
    own = {"source": "human", "author": author, "session_id": target, "started_at": START + int(target, 16) % 10**9}
    return Score(**{"target": target, "name": name, "value": value, "project": project} | own | more)


def scored(project: str, target: str, name: str, value: float | None, **more: Any) -> Score:
    return said(project, target, name, value, **{"source": "scorer", "scorer": "local", **more})


def of_raters(*raters: Sequence[float | None]) -> list[tuple[int, float, float]]:
    units = [[value for value in unit if value is not None] for unit in zip(*raters, strict=True)]
    return [(len(unit), sum(unit), sum(value**2 for value in unit)) for unit in units]


def test_cohens_kappa_is_that_of_a_table_worked_by_hand() -> None:
    """Of 50 proposals both accept 20 and both decline 15: observed 0.7, by chance 0.5."""
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert np.isnan(cohen_kappa([1, 1], [1, 1]))


def test_krippendorffs_alpha_is_that_of_his_own_examples() -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), sections A and C."""
    two = of_raters([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0])
    assert krippendorff_alpha(two) == pytest.approx(0.095, abs=5e-4)
    four = of_raters(
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    )
    assert krippendorff_alpha(four) == pytest.approx(0.849, abs=5e-4)
    assert np.isnan(krippendorff_alpha(of_raters([1, 1], [1, 1])))


def test_drawing_from_the_table_is_drawing_cases() -> None:
    generator = np.random.default_rng(5)
    labels = generator.random(600) < 0.3
    values = generator.random(600) * 0.6 + labels * 0.3
    found = agreement(labels, values, 0.5)
    by_cases = interval(lambda drawn: auroc(labels[drawn], values[drawn]), 600, draws=1000)
    assert found.auroc is not None
    assert found.auroc.value == auroc(labels, values)
    assert (found.auroc.low, found.auroc.high) == pytest.approx(by_cases, abs=0.006)
    by_cases = interval(lambda drawn: cohen_kappa(labels[drawn], values[drawn] >= 0.5), 600, draws=1000)
    assert found.kappa is not None
    assert (found.kappa.low, found.kappa.high) == pytest.approx(by_cases, abs=0.02)


def test_the_suggested_threshold_parts_the_kinds_and_promises_no_more_than_new_calls_keep() -> None:
    generator = np.random.default_rng(6)

    def sample(cases: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.random(cases) < 0.3
        return labels, np.clip(generator.normal(0.15 + 0.15 * labels, 0.08), 0, 1)

    labels, values = sample(100_000)
    truth = [(cohen_kappa(labels, values >= step), step) for step in np.linspace(0.1, 0.4, 61)]
    promised, kept = list[float](), list[float]()
    for _ in range(60):
        found = agreement(*sample(150), 0.5).suggestion
        assert found is not None
        assert found.low <= found.threshold <= found.high
        promised.append(found.kappa.value)
        kept.append(cohen_kappa(labels, values >= found.threshold))
    assert np.mean(promised) == pytest.approx(np.mean(kept), abs=0.04)
    assert np.mean(kept) > max(truth)[0] - 0.06


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([1, 0] * 9, "18 labelled calls are too few"), ([0] * 30 + [1] * 4, "only 4 of one kind"), ([], "0 labelled")],
)
def test_few_labels_suggest_nothing_and_say_why(labels: list[int], reason: str) -> None:
    found = agreement(labels, np.linspace(0, 1, len(labels)), 0.5)
    assert found.suggestion is None
    assert found.reason.startswith(reason)


labels = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=3)
    ),
    max_size=30,
)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(calls=labels)
def test_agreement_over_the_store_is_that_of_the_same_rows(store: Store, calls: list[Any]) -> None:
    project = f"agree-{secrets.token_hex(4)}"
    rows, pairs, ties = list[Score](), list[tuple[bool, float]](), 0
    for value, votes in calls:
        target = secrets.token_hex(8)
        rows.append(scored(project, target, "toxicity", value))
        rows += [said(project, target, "toxicity", vote, f"person {number}") for number, vote in enumerate(votes)]
        if sum(votes) * 2 == len(votes):
            ties += 1
        else:
            pairs.append((sum(votes) * 2 > len(votes), value))
    insert_scores(store, rows)

    found = agreement_with_people(store, Selection(project=project), 0.6)

    assert found["labels"] == sum(len(votes) for _, votes in calls)
    assert len(found["scorers"]) == bool(calls)
    for one in found["scorers"]:
        yes, values = np.array([pair[0] for pair in pairs], bool), np.array([pair[1] for pair in pairs])
        assert (one["n"], one["ties"], one["positives"]) == (len(pairs), ties, yes.sum())
        assert value_of(one["auroc"]) == known(auroc(yes, values))
        assert value_of(one["kappa"]) == known(cohen_kappa(yes, values >= 0.6))
    several = [votes for _, votes in calls if len(votes) > 1]
    assert [one["calls"] for one in found["raters"]] == [len(several)] * bool(several)
    for one in found["raters"]:
        first, second = zip(*((a, b) for v in several for i, a in enumerate(v) for b in v[i + 1 :]), strict=True)
        assert one["pairs"] == len(first)
        assert value_of(one["kappa"]) == known(cohen_kappa(first, second))
        units = [(len(votes), sum(votes), sum(votes)) for votes in several]
        assert value_of(one["alpha"]) == known(krippendorff_alpha(units))


def value_of(figure: dict[str, Any] | None) -> float | None:
    return figure and figure["value"]


def known(value: float) -> Any:
    return pytest.approx(value) if np.isfinite(value) else None


def test_a_thumb_is_compared_with_every_score_the_right_way_round(store: Store, project: str) -> None:
    rows = list[Score]()
    for number in range(40):
        target, liked = f"{number:016x}", number % 2
        rows += [
            scored(project, target, "relevance", 0.5 + 0.4 * liked),
            scored(project, target, "relevance", 0.9 * liked, source="judge", scorer="judge"),
            scored(project, target, "toxicity", 0.6 - 0.5 * liked),
            said(project, target, "thumb", float(liked), "ada"),
        ]
    insert_scores(store, rows)
    told = agreement_with_people(store, Selection(project=project))
    assert [(one["name"], one["source"], one["against"], one["direction"]) for one in told["scorers"]] == [
        ("relevance", "scorer", "thumb", "higher is better"),
        ("relevance", "judge", "thumb", "higher is better"),
        ("toxicity", "scorer", "thumb", "lower is better"),
    ]
    assert [one["auroc"]["value"] for one in told["scorers"]] == [1.0, 1.0, 1.0]
    assert [one["kappa"]["value"] for one in told["scorers"]] == [0.0, 1.0, 1.0]
    assert told["scorers"][0]["suggestion"]["threshold"] == pytest.approx(0.9)
    assert told["raters"] == []


def test_stars_are_compared_by_rank(store: Store, project: str) -> None:
    generator = np.random.default_rng(4)
    stars, values = generator.integers(1, 6, 50), generator.random(50)
    rows = list[Score]()
    for number, (star, value) in enumerate(zip(stars, values, strict=True)):
        target = f"{number:016x}"
        rows += [scored(project, target, "relevance", value), said(project, target, "relevance", float(star), "ada")]
        rows.append(said(project, target, "relevance", float(star), "bob"))
    insert_scores(store, rows)
    told = agreement_with_people(store, Selection(project=project))
    [one], [raters] = told["scorers"], told["raters"]
    assert one["scale"] == "graded"
    assert one["spearman"]["value"] == pytest.approx(spearman(stars, values))
    assert one["spearman"]["low"] < one["spearman"]["value"] < one["spearman"]["high"]
    assert (raters["raters"], raters["spearman"]["value"], raters["alpha"]["value"]) == (2, pytest.approx(1), 1.0)


def test_only_the_newest_labels_are_read_and_the_answer_says_so(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "MAX_LABELS", 5)
    targets = [f"{number:016x}" for number in range(8)]
    insert_scores(store, [scored(project, target, "relevance", 0.5) for target in targets])
    insert_scores(store, [said(project, target, "relevance", 1.0) for target in targets])
    told = agreement_with_people(store, Selection(project=project))
    assert (told["labels"], told["cut"], told["scorers"][0]["n"]) == (5, True, 5)


def test_a_judged_sample_is_joined_with_the_scores_of_all_calls(store: Store, project: str) -> None:
    generator = np.random.default_rng(9)
    rows, sums = list[Score](), {name: np.zeros(GROUPS) for name in ("n", "y", "f", "others", "g")}
    for number in range(400):
        target, value = f"{number:016x}", float(generator.random())
        [place] = store.query(f"SELECT cityHash64({{s:String}}) % {GROUPS} AS g", {"s": target})
        rows.append(scored(project, target, "relevance", value))
        if number % 4 == 0 or number == 399:
            judgement = min(max(value + float(generator.normal(-0.1, 0.1)), 0), 1)
            rows.append(scored(project, target, "relevance", judgement, source="judge", scorer="judge"))
            for name, amount in {"n": 1, "y": judgement, "f": value}.items():
                sums[name][place["g"]] += amount
        else:
            sums["others"][place["g"]] += 1
            sums["g"][place["g"]] += value
    insert_scores(store, rows)
    selection = Selection(project=project)

    told = with_judged(store, selection, quality(store, selection))["relevance"]["judged"]

    expected = estimate(Sums(**sums))
    assert (told["source"], told["scorer"], told["n"], told["N"]) == ("judge", "local", 101, 299)
    for name in ("mean", "low", "high", "classical_mean", "classical_low", "classical_high", "gain"):
        assert told[name] == pytest.approx(getattr(expected, name))
    assert told["gain"] > 1.5


def test_people_are_no_uniform_sample_and_stay_a_plain_mean(store: Store, project: str) -> None:
    targets = [f"{number:016x}" for number in range(40)]
    insert_scores(store, [scored(project, target, "relevance", 0.5) for target in targets])
    insert_scores(store, [said(project, target, "relevance", 1.0) for target in targets])
    selection = Selection(project=project)
    told = with_judged(store, selection, quality(store, selection))["relevance"]
    assert "judged" not in told
    assert told["by_source"]["human"]["mean"] == 1.0
    assert (told["source"], told["mean"]) == ("scorer", 0.5)
