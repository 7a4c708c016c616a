"""Fitting to a project: from labels to weights, thresholds and versions, over the API and by the command."""

from __future__ import annotations

import io
import json
import random
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from assay.alerts.limits import FEWEST_CALLS, ProjectThresholds, project_limits
from assay.alerts.thresholds import LAB_THRESHOLDS
from assay.cli import app
from assay.client.monitor import Monitor
from assay.config import Quality
from assay.errors import AssayError, NotFound
from assay.quality.agreement import cohen_kappa
from assay.quality.fit.decisions import balanced_accuracy, best_threshold
from assay.quality.fit.fitted import Addition, FittedToxicity, fitted_scorers
from assay.quality.fit.fitter import Fitter, Outcome, TooFewLabels
from assay.quality.fit.labels import Labelled
from assay.quality.fit.learn import balanced_folds
from assay.quality.fit.logistic import Examples, fit_weights
from assay.quality.local import local_scorers
from assay.quality.process import ScoringProcess
from assay.quality.scorer import Conversation, Scorer, assess
from assay.records import Score
from assay.store.connect import Store
from assay.store.fits import SHIPPED, ActiveFits, Fit, active_fits, fits_changed_at, insert_fit, kept_fits, use_fit
from assay.store.scores import insert_scores
from conftest import Server, eventually, otlp
from test_quality_process import call

FORM = "Could you {} the {} for my {} please, and {} it after that?"
VERBS = ["open", "paint", "repair", "measure", "carry", "describe", "clean", "borrow", "arrange", "compare", "label"]
WANTED = ["door", "window", "report", "garden", "invoice", "recipe", "bicycle", "letter", "kitchen", "camera"]
UNWANTED = ["horoscope", "tarot", "lottery", "astrology", "zodiac", "numerology", "palmistry", "talisman"]
PEOPLE = ["uncle", "teacher", "neighbour", "landlord", "colleague", "team", "doctor", "friend", "cousin", "pupil"]


def prompts(count: int, seed: int = 0, split: str = "") -> list[Labelled]:
    """Every second is about what this project does not want, though no word in it is an insult."""
    draw = random.Random(seed)
    found: list[Labelled] = []
    for at in range(count):
        things = UNWANTED if at % 2 else WANTED
        text = FORM.format(draw.choice(VERBS), draw.choice(things), draw.choice(PEOPLE), draw.choice(VERBS))
        found.append(Labelled(Conversation(prompt=text), bool(at % 2), split))
    return found


UNWISHED = "Could you describe the horoscope for my colleague please?"


def rows(labelled: list[Labelled]) -> list[dict[str, Any]]:
    """The same as rows of a file."""
    return [
        {"target": "prompt", "prompt": one.conversation.prompt, "label": int(one.label), "split": one.split}
        for one in labelled
    ]


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return Fitter()


@pytest.fixture(scope="module")
def base() -> tuple[Scorer, ...]:
    return local_scorers()


@pytest.fixture(scope="module")
def learnt(fitter: Fitter) -> Outcome:
    return fitter.fit("some-project", "prompt_toxicity", prompts(60))


# Learning


def test_a_fit_learns_what_a_project_objects_to_and_shows_it_on_rows_it_did_not_learn_from(learnt: Outcome):
    report = learnt.report
    assert (report.n, report.positives, report.n_held_out, report.how) == (60, 30, 60, "each quarter once")
    assert report.before.auroc.value is not None
    assert report.after.auroc.value is not None
    assert report.before.auroc.value + 0.15 < report.after.auroc.value
    assert report.after.balanced_accuracy.value > report.before.balanced_accuracy.value + 0.15  # pyright: ignore
    assert report.after.auroc.interval is not None
    assert report.after.auroc.interval[0] <= report.after.auroc.value <= report.after.auroc.interval[1]
    assert not report.worse


def test_labels_that_say_nothing_about_the_words_change_little(fitter: Fitter, base: tuple[Scorer, ...]):
    draw = random.Random(5)
    shuffled = [msgspec.structs.replace(one, label=draw.random() < 0.5) for one in prompts(40, seed=5)]
    insults = [f"You are a {word}." for word in ("stupid idiot", "worthless moron", "disgusting pig")]
    kind = [f"You are a {word}." for word in ("good friend", "patient teacher", "careful driver")]
    fitted = fitted_scorers(base, [fitter.fit("", "prompt_toxicity", shuffled).fit])
    values = [assess(fitted, Conversation(prompt=text))["prompt_toxicity"].value for text in insults + kind]
    assert min(values[:3]) > max(values[3:])  # pyright: ignore[reportArgumentType] all are assessed


def test_where_the_labels_are_those_of_the_shipped_score_few_of_them_do_no_harm(fitter: Fitter):
    bad = [f"{name}, you are a stupid worthless idiot and I hate you." for name in PEOPLE[:10]]
    good = [f"{name}, you are a patient and careful person and I like you." for name in PEOPLE[:10]]
    labelled = [Labelled(Conversation(response=text), text in bad) for text in bad + good]
    report = fitter.fit("", "toxicity", labelled).report
    assert report.before.auroc.value == report.after.auroc.value == 1.0
    assert not report.worse


def test_rows_of_another_split_are_held_out_and_never_learnt_from(fitter: Fitter):
    train, dev = prompts(60, split="train"), prompts(40, seed=1, split="dev")
    copies = [msgspec.structs.replace(one, split="dev") for one in train[:5]]
    report = fitter.fit("", "prompt_toxicity", train + dev + copies)
    alone = fitter.fit("", "prompt_toxicity", train + dev)
    assert report.report.how == "as the rows say"
    assert report.report.left_out >= 5
    assert report.fit.weights == alone.fit.weights
    flipped = [msgspec.structs.replace(one, label=not one.label) for one in dev]
    assert fitter.fit("", "prompt_toxicity", train + flipped).fit.weights == alone.fit.weights


def _misleading() -> list[Labelled]:
    """Rows to learn from that say the opposite of those held out."""
    flipped = [msgspec.structs.replace(one, label=not one.label) for one in prompts(60, split="train")]
    return [*flipped, *prompts(40, seed=9, split="dev"), *_clear_cases("dev")]


def test_a_fit_that_is_worse_on_held_out_rows_says_so_and_stays_out_of_use(
    fitter: Fitter, monitor: Monitor, project: str
):
    report = fitter.fit("", "prompt_toxicity", _misleading()).report
    assert report.before.auroc.value is not None
    assert report.after.auroc.value is not None
    assert report.after.auroc.value < report.before.auroc.value - 0.1
    assert report.worse
    monitor.fit(project, metric="prompt_toxicity", rows=rows(_misleading()))
    assert [fit["active"] for fit in monitor.fits(project)] == [False]
    monitor.fit(project, metric="prompt_toxicity", rows=rows(_misleading()), force=True)
    assert [fit["active"] for fit in monitor.fits(project)] == [True]


def _clear_cases(split: str) -> list[Labelled]:
    insults = [f"I hate you, you disgusting {word}, get lost." for word in ("pig", "moron", "bastard", "idiot")]
    kind = [f"Thank you, dear {word}, see you soon." for word in ("friend", "teacher", "neighbour", "doctor")]
    return [Labelled(Conversation(prompt=text), text in insults, split) for text in insults + kind]


def test_the_same_labels_in_any_order_give_the_same_version(fitter: Fitter, learnt: Outcome):
    again = fitter.fit("some-project", "prompt_toxicity", list(reversed(prompts(60))))
    assert (again.fit.version, again.fit.weights) == (learnt.fit.version, learnt.fit.weights)
    other = fitter.fit("some-project", "prompt_toxicity", prompts(58))
    assert other.fit.version != learnt.fit.version


def test_too_few_labels_are_refused_with_what_is_missing(fitter: Fitter):
    only_harmless = [one for one in prompts(60) if not one.label]
    with pytest.raises(TooFewLabels, match=r"0 toxic and 30 harmless.*label 10 more toxic$"):
        fitter.fit("", "prompt_toxicity", only_harmless)
    foreign = [Labelled(Conversation(prompt="Это сообщение написано по-русски."), True)] * 12
    with pytest.raises(TooFewLabels, match=r"3 toxic and 3 harmless \(12 more cannot be assessed\).* 7 more harm"):
        fitter.fit("", "prompt_toxicity", prompts(6) + foreign)


def test_other_scores_get_a_threshold_and_keep_their_values(fitter: Fitter, base: tuple[Scorer, ...]):
    question = "How do I water tomato plants in the summer?"
    good = [f"Water tomato plants early, {n} litres for each plant, in the summer heat." for n in range(12)]
    bad = [f"The train to Paris leaves from platform {n} in the evening." for n in range(12)]
    labelled = [Labelled(Conversation(prompt=question, response=text), text in good) for text in good + bad]
    outcome = fitter.fit("", "relevance", labelled)
    assert outcome.fit.weights == b""
    assert outcome.report.before.auroc == outcome.report.after.auroc
    assert outcome.report.after.balanced_accuracy.value == 1.0
    assert 0 < outcome.report.threshold < 1
    assert fitted_scorers(base, [outcome.fit]) == base


# The fitted scorer


def test_a_fitted_score_tells_the_shipped_one_and_the_words_that_weigh_most(learnt: Outcome, base: tuple[Scorer, ...]):
    fitted = fitted_scorers(base, [learnt.fit])
    conversation = Conversation(prompt=UNWISHED)
    before, after = assess(base, conversation), assess(fitted, conversation)
    assert after["prompt_toxicity"].value > 0.5 > before["prompt_toxicity"].value  # pyright: ignore
    assert f"shipped: {before['prompt_toxicity'].value:.2f}" in after["prompt_toxicity"].reason
    assert "horoscope" in after["prompt_toxicity"].reason.partition("weighs most here: ")[2]
    del before["prompt_toxicity"], after["prompt_toxicity"]
    assert before == after


def test_what_the_shipped_score_cannot_assess_stays_null(learnt: Outcome, base: tuple[Scorer, ...]):
    fitted = fitted_scorers(base, [learnt.fit])
    for prompt in ("", "???", "Это сообщение написано по-русски.", "\udcff", "\u200b"):
        conversation = Conversation(prompt=prompt)
        assert assess(fitted, conversation)["prompt_toxicity"] == assess(base, conversation)["prompt_toxicity"]


@settings(max_examples=30)
@given(st.text(max_size=200))
def test_any_text_gets_a_value_or_none(text: str):
    scorer = _FITTED[0] if _FITTED else _remembered()
    value = scorer.score(Conversation(response=text)).value
    assert value is None or 0 <= value <= 1


_FITTED: list[FittedToxicity] = []


def _remembered() -> FittedToxicity:
    toxicity = next(one for one in local_scorers() if one.name == "toxicity")
    linear, pairs = np.full(192, 30, np.float32), np.full(2080, -30, np.float32)
    addition = Addition(np.full(393_216, 127, np.int8), 1.0, linear, pairs, 5.0, 0.0)
    _FITTED.append(FittedToxicity(toxicity, addition, "x"))  # pyright: ignore[reportArgumentType]
    return _FITTED[0]


def test_many_at_once_get_the_verdicts_of_each_alone(learnt: Outcome, base: tuple[Scorer, ...]):
    [scorer] = [one for one in fitted_scorers(base, [learnt.fit]) if isinstance(one, FittedToxicity)]
    conversations = [one.conversation for one in prompts(10)] + [Conversation()]
    together, alone = scorer.score_all(conversations), [scorer.score(one) for one in conversations]
    assert [one.value for one in together] == pytest.approx([one.value for one in alone], abs=1e-6)
    assert [one.label for one in together] == [one.label for one in alone]


def test_weights_are_plain_arrays_and_what_is_not_is_refused(learnt: Outcome):
    with np.load(io.BytesIO(learnt.fit.weights), allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored} <= {"i", "f"}
    assert len(learnt.fit.weights) < 400_000
    pickled = io.BytesIO()
    np.savez(pickled, codes=np.array([{"an": "object"}], object))
    for broken in (b"", b"PK\x03\x04", learnt.fit.weights[:1000], pickled.getvalue()):
        with pytest.raises(AssayError, match="fit again"):
            Addition.unpacked(broken)


# Numbers


def test_logistic_regression_finds_where_the_slope_of_its_loss_is_none():
    draw = np.random.default_rng(3)
    dense = draw.normal(size=(80, 4)).astype(np.float32)
    columns = np.concatenate([draw.choice(12, 5, replace=False) for _ in range(80)])
    examples = Examples(columns, np.ones(400, np.float32), np.arange(81) * 5, 12, dense)
    labels = dense[:, 0] + draw.normal(size=80) > 0
    penalties, prior = np.full(16, 0.5, np.float32), np.full(16, 0.1, np.float32)
    weights = fit_weights(examples, labels, penalties, prior, np.zeros(16, np.float32))
    table = np.zeros((80, 12))
    table[np.repeat(np.arange(80), 5), columns] = 1
    whole = np.concatenate([table, dense], axis=1)
    chances = 1 / (1 + np.exp(-whole @ weights))
    assert np.abs(whole.T @ (chances - labels) + penalties * (weights - prior)).max() < 0.2


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=40))
def test_no_threshold_is_better_than_the_best(cases: list[tuple[bool, int]]):
    labels, values = np.array([yes for yes, _ in cases]), np.array([value / 9 for _, value in cases])
    found = best_threshold(labels, values)
    if labels.all() or not labels.any() or len(set(values)) == 1:
        assert found == 0.5
        return
    middles = [(a + b) / 2 for a, b in zip(sorted(set(values)), sorted(set(values))[1:], strict=False)]
    best = max(balanced_accuracy(labels, values >= threshold) for threshold in middles)
    assert balanced_accuracy(labels, values >= found) == pytest.approx(best)


def test_kappa_is_agreement_beyond_chance():
    yes, no = [True] * 45 + [False] * 15, [True] * 25 + [False] * 15
    first, second = [*([True] * 60), *([False] * 40)], [*yes, *no]
    # Cohen's own kind of table: 45 both yes, 15 both no; chance agrees on 0.6 * 0.7 + 0.4 * 0.3.
    assert cohen_kappa(first, second) == pytest.approx((0.60 - 0.54) / (1 - 0.54))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), min_size=1, max_size=60))
def test_folds_keep_groups_whole(cases: list[tuple[bool, str]]):
    labels, groups = np.array([yes for yes, _ in cases]), [group for _, group in cases]
    folds = balanced_folds(labels, groups, 3)
    assert len({(group, int(fold)) for group, fold in zip(groups, folds, strict=True)}) == len(set(groups))


# Versions


def test_going_back_restores_the_former_verdicts_exactly(
    store: Store, project: str, learnt: Outcome, base: tuple[Scorer, ...]
):
    conversation = Conversation(prompt=UNWISHED)

    def verdict() -> object:
        return assess(fitted_scorers(base, active_fits(store).get(project, ())), conversation)

    shipped = verdict()
    first = msgspec.structs.replace(learnt.fit, project=project)
    insert_fit(store, first, use=True)
    fitted = verdict()
    assert fitted != shipped
    use_fit(store, project, "prompt_toxicity", SHIPPED)
    assert verdict() == shipped
    use_fit(store, project, "prompt_toxicity", first.version)
    assert verdict() == fitted
    assert active_fits(store)[project] == (first,)
    assert [(kept.version, kept.active) for kept in kept_fits(store, project)] == [
        (SHIPPED, False),
        (first.version, True),
    ]


def test_a_version_that_is_only_kept_is_not_in_use_and_each_change_can_be_noticed(store: Store, project: str):
    before = fits_changed_at(store)
    fit = Fit(project=project, metric="relevance", version="abc", threshold=0.4, author="kim")
    insert_fit(store, fit, use=False)
    kept = fits_changed_at(store)
    assert kept > before
    assert project not in active_fits(store)
    use_fit(store, project, "relevance", "abc")
    assert fits_changed_at(store) > kept
    assert active_fits(store)[project] == (fit,)


# Labels and limits


STARTED = round((time.time() - 3600) * 1e6)


def test_labels_are_scores_by_a_metrics_name_and_a_thumb_says_nothing_of_toxicity(
    monitor: Monitor, server: Server, project: str
):
    ids = [secrets.token_hex(8) for _ in range(5)]
    server.post(otlp(*({"span_id": one} for one in ids), project=project)).raise_for_status()
    eventually(lambda: len(monitor.calls(project=project)["calls"]) == 5)
    monitor.score(ids[0], "prompt_toxicity", 1)
    monitor.score(ids[1], "thumb", 0)
    monitor.score(ids[2], "thumb", 1, label="flag:toxicity")
    for author, value in (("a", 0.2), ("b", 0.9), ("c", 0.9)):
        monitor.score(ids[3], "relevance", value, author=author)
    monitor.score(ids[3], "thumb", 0)
    monitor.score(ids[4], "toxicity", 1, source="judge")

    def told(metric: str) -> str:
        with pytest.raises(AssayError) as refused:
            monitor.fit(project, metric=metric)
        return str(refused.value).partition(". At least")[0]

    assert told("prompt_toxicity") == "too few labels to fit prompt_toxicity: 1 toxic and 0 harmless"
    assert told("toxicity") == "too few labels to fit toxicity: 1 toxic and 0 harmless"
    assert told("relevance") == "too few labels to fit relevance: 2 good and 1 bad"


def test_limits_rest_on_labels_then_on_the_project_s_own_past_then_on_the_lab(store: Store, project: str):
    assert {limit.basis for limit in project_limits(store, project)} == {"lab"}
    values = [at / 1000 for at in range(FEWEST_CALLS)]
    insert_scores(
        store,
        [
            Score(target=f"{at:016x}", name=name, value=value, scorer="local", project=project, started_at=STARTED)
            for at, value in enumerate(values)
            for name in ("toxicity", "relevance", "groundedness")
        ],
    )
    insert_fit(store, Fit(project=project, metric="relevance", version="r1", threshold=0.42), use=True)
    limits = {limit.metric: limit for limit in project_limits(store, project)}
    assert {name: limit.basis for name, limit in limits.items()} == {
        "toxicity": "quantile",
        "relevance": "labels",
        "coherence": "lab",
        "groundedness": "quantile",
    }
    assert limits["toxicity"].threshold.above == pytest.approx(np.quantile(values, 0.99), abs=0.002)
    assert limits["groundedness"].threshold.below == pytest.approx(np.quantile(values, 0.01), abs=0.002)
    assert limits["relevance"].threshold.below == 0.42
    thresholds = {threshold.metric for threshold in ProjectThresholds(store)(project)}
    assert thresholds == {*limits, "latency_ms", "cost_usd"}
    assert {threshold.metric for threshold in LAB_THRESHOLDS} <= thresholds


def test_the_scoring_process_follows_what_is_in_use(store: Store, project: str, learnt: Outcome):
    process = ScoringProcess("quality", Quality(), fits=ActiveFits(store))

    def judged() -> dict[str, tuple[float, str]]:
        calls = [call(of, "Yes.") | {"prompt": UNWISHED, "project": of} for of in (project, "another-project")]
        scores = [score for score in process(calls) if score.name == "prompt_toxicity"]
        return {score.project: (round(score.value or 0, 5), score.scorer_version) for score in scores}

    try:
        shipped = judged()
        assert len(set(shipped.values())) == 1
        insert_fit(store, msgspec.structs.replace(learnt.fit, project=project), use=True)
        fitted = judged()
        assert fitted["another-project"] == shipped["another-project"]
        assert fitted[project][1] != shipped[project][1]
        assert fitted[project][0] > 0.5 > shipped[project][0]
        process.close()
        assert judged() == fitted, "a new process is told too"
        use_fit(store, project, "prompt_toxicity", SHIPPED)
        assert judged() == shipped
    finally:
        process.close()


# Over the API and by the command


def test_fitting_to_a_file_keeps_a_version_uses_it_and_goes_back_in_one_command(
    server: Server, monitor: Monitor, project: str, tmp_path: Path
):
    data = tmp_path / "toxicity-mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(prompts(60))))
    run = CliRunner()
    common = ["--project", project, "--url", server.url]
    tried = run.invoke(app, ["quality", "fit", "--data", str(data), "--dry-run", *common])
    assert tried.exit_code == 0, tried.output
    assert "nothing was kept" in tried.output
    assert monitor.fits(project) == []
    done = run.invoke(app, ["quality", "fit", "--data", str(data), *common])
    assert done.exit_code == 0, done.output
    assert all(word in done.output for word in ("prompt_toxicity: 60 labels", "AUROC", "Kappa", "is in use for"))
    [kept] = monitor.fits(project)
    assert (kept["active"], kept["metric"], kept["has_weights"]) == (True, "prompt_toxicity", True)
    assert kept["version"] in run.invoke(app, ["quality", "fits", *common]).output
    [limit] = [one for one in monitor.thresholds(project) if one["metric"] == "prompt_toxicity"]
    assert (limit["basis"], limit["threshold"]["above"]) == ("labels", kept["threshold"])
    back = run.invoke(app, ["quality", "use", "shipped", *common])
    assert "prompt_toxicity now uses shipped" in back.output
    assert [fit["version"] for fit in monitor.fits(project) if fit["active"]] == ["shipped"]
    monitor.use_fit(kept["version"], project)
    assert [fit["version"] for fit in monitor.fits(project) if fit["active"]] == [kept["version"]]
    with pytest.raises(NotFound, match=f"has no fit 'nonsense'; it has: {kept['version']}"):
        monitor.use_fit("nonsense", project)


def test_a_file_that_cannot_be_learnt_from_is_refused_with_the_place(server: Server, project: str, tmp_path: Path):
    def refused(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        command = ["quality", "fit", "--data", str(tmp_path / name), "--project", project, "--url", server.url]
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, AssayError), result.output
        return str(result.exception)

    good = json.dumps(rows(prompts(2))[0]) + "\n"
    assert "toxicity-a.jsonl, line 2 is not a row" in refused("toxicity-a.jsonl", good + "{not json}\n")
    assert "row 2 has label None" in refused("toxicity-b.jsonl", good + '{"target": "prompt", "prompt": "x"}\n')
    assert "--metric" in refused("mine.jsonl", good)
    assert "10 more toxic" in refused("toxicity-c.jsonl", good)


def test_a_project_without_labels_is_told_how_to_label(monitor: Monitor, project: str):
    with pytest.raises(AssayError, match="nobody has labelled a call"):
        monitor.fit(project)
    with pytest.raises(AssayError, match="cannot fit 'sarcasm': choose one of"):
        monitor.fit(project, metric="sarcasm")
    with pytest.raises(AssayError, match="row 1 is not a row of labelled data"):
        monitor.fit(project, rows=[{"target": "nowhere"}])


def test_the_bench_measures_a_fit_on_rows_that_it_did_not_learn_from(tmp_path: Path):
    train, dev = prompts(60, split="train"), prompts(30, seed=9, split="dev")
    copies = [msgspec.structs.replace(one, split="dev") for one in train[:4]]
    path = tmp_path / "toxicity-mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(train + dev + copies)))
    done = CliRunner().invoke(app, ["quality", "bench", "--data", str(tmp_path), "--split", "dev", "--fit", "--json"])
    assert done.exit_code == 0, done.output
    local, fitted = json.loads(done.output)
    assert (local["set"], fitted["set"]) == ("local", "local+fit")
    assert (local["n"], fitted["n"] <= 30) == (34, True)
    assert fitted["auroc"] > local["auroc"]
