"""The bench: its statistics against their definitions, and `assay quality bench` on files made here."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dirty_equals import IsFloat, IsPositive
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from assay.cli import app
from assay.quality.agreement import auprc, auroc, interval, kendall, pair_wins, spearman
from assay.quality.bench import BenchError, bench

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=40)
LABELS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40)


# Statistics


@given(LABELS)
def test_auroc_is_the_share_of_pairs_in_the_right_order(cases: list[tuple[bool, int]]):
    positive = [value for label, value in cases if label]
    negative = [value for label, value in cases if not label]
    found = auroc([label for label, _ in cases], [value for _, value in cases])
    if not positive or not negative:
        assert math.isnan(found)
    else:
        wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
        assert found == pytest.approx(sum(wins) / len(wins))


@given(LABELS)
def test_auprc_is_the_precision_at_each_value_weighted_by_the_recall_it_adds(cases: list[tuple[bool, int]]):
    labels, values = [label for label, _ in cases], [value for _, value in cases]
    found = auprc(labels, values)
    if len(set(labels)) < 2:
        assert math.isnan(found)
        return
    expected, recall = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        above = [label for label, value in cases if value >= threshold]
        expected += (sum(above) / sum(labels) - recall) * sum(above) / len(above)
        recall = sum(above) / sum(labels)
    assert found == pytest.approx(expected)


@given(GRADES)
def test_kendall_counts_pairs_in_the_same_and_in_the_other_order(cases: list[tuple[int, int]]):
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in combinations(cases, 2)]
    first, second = sum(bool(x) for x, _ in signs), sum(bool(y) for _, y in signs)
    found = kendall([grade for grade, _ in cases], [value for _, value in cases])
    if not first or not second:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sum(x * y for x, y in signs) / math.sqrt(first * second))


def test_figures_equal_those_of_scipy_and_scikit_learn():
    """Computed once with scipy 1.17.1 and scikit-learn 1.9.1 on these sixteen cases, which have ties on both sides."""
    grades = [1, 2, 2, 3, 5, 4, 4, 1, 3, 2, 5, 5, 1, 2, 3, 4]
    labels = [0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1]
    values = [0.1, 0.4, 0.35, 0.8, 0.9, 0.4, 0.7, 0.2, 0.35, 0.35, 0.6, 0.9, 0.3, 0.1, 0.8, 0.5]
    assert spearman(grades, values) == pytest.approx(0.829639037)
    assert kendall(grades, values) == pytest.approx(0.689274818)
    assert auroc(labels, values) == pytest.approx(0.835937500)
    assert auprc(labels, values) == pytest.approx(0.821726190)


def test_a_constant_side_has_no_rank_correlation():
    assert math.isnan(spearman([1, 2, 3], [5, 5, 5]))
    assert math.isnan(kendall([1, 1, 1], [1, 2, 3]))


def test_a_pair_is_won_by_the_higher_value_and_a_tie_counts_half():
    wins = pair_wins(["a", "a", "b", "b", "c", "c", "d"], [1, 0, 1, 0, 1, 0, 1], [0.9, 0.1, 0.2, 0.3, 0.5, 0.5, 1])
    assert wins.tolist() == [1.0, 0.0, 0.5]


def test_the_interval_of_a_mean_covers_it_and_narrows_with_more_cases():
    values = np.random.default_rng(1).normal(size=1600)
    few = interval(lambda at: float(values[:100][at].mean()), 100)
    many = interval(lambda at: float(values[at].mean()), 1600)
    assert few[0] < values[:100].mean() < few[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])


# The command

QUESTIONS = {
    "How do plants make food?": "Plants make food from light, water and carbon dioxide in their leaves.",
    "What is the capital of France?": "The capital of France is Paris, a city on the river Seine.",
    "How do I boil an egg?": "Boil the egg in water for seven minutes, then cool it.",
    "Why is the sky blue?": "The sky is blue because air scatters blue light more than red light.",
}
ANSWERS = list(QUESTIONS.values())
RELEVANCE = [
    {"split": "dev", "prompt": prompt, "response": response, "target": "response", "label": int(response == answer)}
    for prompt, answer in QUESTIONS.items()
    for response in ANSWERS
]


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["quality", "bench", *map(str, arguments)], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_labels_give_auroc_and_auprc_for_each_set(tmp_path: Path):
    write(tmp_path, "relevance-questions.jsonl", RELEVANCE)
    code, output = run("--data", tmp_path, "--set", "local", "--set", "lexical", "--json")
    assert code == 0
    local, lexical = json.loads(output)
    assert local == {
        "file": "relevance-questions",
        "set": "local",
        "metric": "relevance",
        "n": 16,
        "auroc": IsFloat(ge=0.95, le=1),
        "auprc": IsFloat(ge=0.9, le=1),
        "spearman": None,
        "kendall": None,
        "accuracy": None,
        "auroc_ci": [IsFloat(ge=0.7, le=1), IsFloat(ge=0.95, le=1)],
        "auprc_ci": [IsFloat(ge=0.5, le=1), IsFloat(ge=0.9, le=1)],
        "spearman_ci": None,
        "kendall_ci": None,
        "accuracy_ci": None,
        "not_assessable": 0.0,
        "length_correlation": IsFloat(ge=-1, le=1),
        "conversations_per_second": IsPositive,
    }
    assert (lexical["set"], lexical["n"]) == ("lexical", 16)
    assert lexical["auroc"] < local["auroc"]


def test_grades_give_rank_correlations(tmp_path: Path):
    graded = [{"prompt": "Why is the sky blue?", "response": r, "target": "response"} for r in ANSWERS]
    rows = [row | {"score": 5.0 if "sky" in row["response"] else 1.0 + place} for place, row in enumerate(graded)]
    write(tmp_path, "relevance-graded.jsonl", rows)
    (figures,) = bench(tmp_path, ["local"])
    assert (figures.auroc, figures.accuracy) == (None, None)
    assert -1 <= figures.kendall <= figures.spearman <= 1  # type: ignore[operator]


def test_pairs_give_the_share_in_the_right_order(tmp_path: Path):
    rows = [
        {"response": text, "target": "response", "label": label, "extra": {"pair": pair}}
        for pair, (rude, kind) in enumerate([("You stupid idiot.", "Well done."), ("I hate you, moron.", "Good day.")])
        for text, label in ((rude, 1), (kind, 0))
    ]
    write(tmp_path, "toxicity-made-pairs.jsonl", rows)
    (figures,) = bench(tmp_path, ["local"])
    assert (figures.metric, figures.n, figures.accuracy, figures.accuracy_ci) == ("toxicity", 4, 1.0, (1.0, 1.0))


@pytest.mark.parametrize("set_name", ["local", "lexical"])
def test_toxicity_judges_the_field_that_people_judged(tmp_path: Path, set_name: str):
    rude, kind = "I hate you, you dangerous stupid idiot", "Good morning to all of you"
    rows = [
        {"prompt": rude, "response": kind, "target": "prompt", "label": 1},
        {"prompt": kind, "response": rude, "target": "prompt", "label": 0},
    ]
    write(tmp_path, "toxicity-prompts.jsonl", rows)
    (figures,) = bench(tmp_path, [set_name])
    assert figures.auroc == 1.0


def test_the_labs_factual_accuracy_is_measured_as_groundedness(tmp_path: Path):
    rows = [
        {"context": "The bridge is red.", "response": "According to the text, it is red.", "label": 1},
        {"context": "The bridge is red.", "response": "It is blue.", "label": 0},
    ]
    write(tmp_path, "groundedness-bridge.jsonl", [row | {"target": "response"} for row in rows])
    assert [(f.set, f.auroc) for f in bench(tmp_path, ["lexical", "local"])] == [("lexical", 1.0), ("local", 1.0)]


def test_rows_that_cannot_be_assessed_are_counted_and_left_out(tmp_path: Path):
    bare = [{"response": text, "target": "response", "label": n % 2} for n, text in enumerate(ANSWERS)]
    write(tmp_path, "groundedness-nothing-noctx.jsonl", bare)
    (figures,) = bench(tmp_path, ["local"])
    assert (figures.not_assessable, figures.auroc, figures.length_correlation) == (1.0, None, None)


def test_only_rows_of_the_split_are_measured(tmp_path: Path):
    write(tmp_path, "relevance-questions.jsonl", [row | {"split": "train"} for row in RELEVANCE] + RELEVANCE[:4])
    assert [figures.n for figures in bench(tmp_path, ["lexical"], "dev")] == [4]
    assert [figures.n for figures in bench(tmp_path, ["lexical"], "test")] == []


def test_the_table_shows_one_line_a_file_and_set(tmp_path: Path):
    write(tmp_path, "relevance-questions.jsonl", RELEVANCE)
    code, output = run("--data", tmp_path, "--set", "lexical")
    assert code == 0
    assert "relevance-questions" in output
    assert "auroc" in output


def test_a_folder_without_rows_a_broken_line_and_an_unknown_set_are_refused(tmp_path: Path):
    with pytest.raises(BenchError, match=r"no \.jsonl file in"):
        list(bench(tmp_path, ["local"]))
    (tmp_path / "toxicity-broken.jsonl").write_text('{"target": "response", "label": 1}\n{"target": "answer"}\n')
    with pytest.raises(BenchError, match=r"toxicity-broken\.jsonl, line 2 is not a row"):
        list(bench(tmp_path, ["local"]))
    code, output = run("--data", tmp_path, "--set", "golden")
    assert code == 2
    assert "golden" in output
