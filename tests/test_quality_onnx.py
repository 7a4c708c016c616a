"""Scoring by ONNX models: each kind on tiny models made here, where they step in, and what goes wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic
from typer.testing import CliRunner

from assay.cli import app
from assay.config import Onnx, Quality, load_config
from assay.errors import ConfigError
from assay.quality.lanes import lanes, load
from assay.quality.onnx.files import find_files
from assay.quality.onnx.model import ModelError, OnnxModel
from assay.quality.onnx.scorers import OnnxScorer, onnx_scorer, share_of
from assay.quality.process import ScoringProcess
from assay.quality.scorer import Conversation, Scorer, assess
from assay.quality.sets import scorers
from test_quality_process import call
from tiny_models import classifier, embedder, marker, supporter

BRIDGE = "The old stone bridge was built in 1874. A wooden fence is near the lake."
SUPPORTED = Conversation(
    prompt="Which river is the old stone bridge of?", response="The stone bridge was built in 1874.", context=(BRIDGE,)
)
HALF = Conversation(
    prompt="Which river is the old stone bridge of?",
    response="The stone bridge was built in 1874. Dogs like long walks every winter.",
    context=(BRIDGE, "The weather is nice today."),
)
RUDE = Conversation(prompt="Please help with the question.", response="You are an awful stupid idiot.")
KIND = Conversation(prompt="You stupid idiot, help!", response="The weather is nice today, and the sea is near.")
REFUSAL = Conversation(prompt="Which city is the capital?", response="I'm sorry, but I can't help with that question.")
LONG = Conversation(
    prompt="Which river is the old stone bridge of?",
    response=" ".join(
        ["The weather is nice today, and the sea is near."] * 60 + ["The old stone bridge is of the river."]
    ),
    context=(" ".join(["Snow falls there every winter."] * 100), BRIDGE, *["The sea is near the city."] * 8),
)
CONVERSATIONS = [SUPPORTED, HALF, RUDE, KIND, REFUSAL, LONG, Conversation()]
TOXIC_WORDS = {"idiot": [-3.0, 3.0], "stupid": [-2.0, 2.0], "awful": [-1.0, 1.0]}


@pytest.fixture(scope="module")
def local() -> dict[str, Scorer]:
    return {scorer.name: scorer for scorer in scorers("local")}


@pytest.fixture
def scorer_of(local: dict[str, Scorer]):
    def made(metric: str, model: Path | str, **settings: object) -> OnnxScorer:
        found = onnx_scorer(metric, Onnx(model=str(model), **settings), local[metric])  # type: ignore[arg-type]
        assert isinstance(found, OnnxScorer)
        return found

    return made


# Kinds


def test_an_embedding_model_finds_the_answer_that_speaks_of_the_question_relevant(scorer_of, tmp_path: Path):
    scorer = scorer_of("relevance", embedder(tmp_path / "words"))
    near, far = scorer.score(SUPPORTED), scorer.score(KIND)
    assert near.value > 0.8 > 0.5 > far.value
    assert near.reason.startswith("words: cosine 0.")
    assert (scorer.name, scorer.scorer) == ("relevance", "onnx")


def test_a_cross_encoder_reads_prompt_and_answer_together(scorer_of, tmp_path: Path):
    scorer = scorer_of("relevance", supporter(tmp_path / "ce", 1))
    # Of the answer's seven words the prompt has "the", "stone" and "bridge": 3/7 less a half, times eight.
    assert scorer.score(SUPPORTED).value == pytest.approx(1 / (1 + np.exp(-8 * (3 / 7 - 0.5))), abs=1e-4)
    assert scorer.score(KIND).value < 0.1


def test_each_sentence_is_held_against_the_passage_that_supports_it_best(scorer_of, tmp_path: Path):
    scorer = scorer_of(
        "groundedness", supporter(tmp_path / "nli", 2, id2label={"0": "contradiction", "1": "entailment"})
    )
    whole, half = scorer.score(SUPPORTED), scorer.score(HALF)
    assert whole.value > 0.95
    assert whole.reason == "nli: 1 of 1 sentences supported by the context"
    assert 0.4 < half.value < 0.6
    assert half.reason == (
        'nli: 1 of 2 sentences supported by the context; not supported: "Dogs like long walks every winter."'
    )


def test_the_order_of_the_labels_is_read_from_the_config(scorer_of, tmp_path: Path):
    swapped = supporter(tmp_path / "nli", 2, id2label={"1": "not_entailment", "0": "entailment"})
    assert scorer_of("groundedness", swapped).score(SUPPORTED).value < 0.05
    named = scorer_of("groundedness", swapped, labels=("not_entailment",))
    assert named.score(SUPPORTED).value > 0.95


@pytest.mark.parametrize("labels", [("inconsistent", "consistent"), ("not_supported", "SUPPORTED"), ("a", "b")])
def test_labels_that_speak_for_support_are_known_by_their_names(scorer_of, tmp_path: Path, labels: tuple[str, str]):
    model = supporter(tmp_path / "nli", 2, id2label=dict(enumerate(labels)))
    assert scorer_of("groundedness", model).score(SUPPORTED).value > 0.95


@pytest.mark.parametrize("name", ["MiniCheck-tiny", "unnamed"])
def test_a_verifier_with_two_unnamed_labels_says_supported_by_the_second(scorer_of, tmp_path: Path, name: str):
    model = supporter(tmp_path / name, 2)
    value = scorer_of("groundedness", model).score(SUPPORTED).value
    # MiniCheck's form is one text: this tiny model, which compares two, sees no second one.
    assert value > 0.95 if name == "unnamed" else value < 0.05


def test_minicheck_and_hhem_are_asked_in_the_form_they_were_trained_in(scorer_of, tmp_path: Path, monkeypatch):
    asked: list[str] = []
    encode = OnnxModel.encode

    def noted(self: OnnxModel, first: str, second: str | None = None) -> object:
        asked.append(first if second is None else f"{first} + {second}")
        return encode(self, first, second)

    monkeypatch.setattr(OnnxModel, "encode", noted)
    made = {"minicheck": partial(supporter, outputs=2), "hhem": marker, "unnamed": partial(supporter, outputs=2)}
    for name, make in made.items():
        assert "1 sentences" in scorer_of("groundedness", make(tmp_path / name)).score(SUPPORTED).reason
    claim = SUPPORTED.response
    assert [each for each in asked if claim in each] == [
        f"{BRIDGE}[SEP]{claim}",
        f"<pad> Determine if the hypothesis is true given the premise?\n\nPremise: {BRIDGE}\n\nHypothesis: {claim}",
        f"{BRIDGE} + {claim}",
    ]


def test_a_token_model_names_the_spans_that_nothing_supports(scorer_of, tmp_path: Path):
    scorer = scorer_of("groundedness", marker(tmp_path / "spans"))
    whole = scorer.score(SUPPORTED)
    # "." is no word of the tiny vocabulary, so the full stop alone is never found.
    assert whole.reason == 'spans: not supported by the context: "."'
    half = scorer.score(HALF)
    assert half.value < whole.value
    assert half.reason == 'spans: not supported by the context: ". Dogs like long walks every winter."'


def test_labels_of_a_classifier_are_summed_but_for_the_neutral_one(scorer_of, tmp_path: Path):
    weights = {word: [row[0], row[1], row[1]] for word, row in TOXIC_WORDS.items()}
    labels = {"0": "neutral", "1": "insult", "2": "threat"}
    scorer = scorer_of("toxicity", classifier(tmp_path / "tox", weights, [2.0, -2.0, -3.0], id2label=labels))
    rude, kind = scorer.score(RUDE), scorer.score(KIND)
    odds = np.exp([2 - 6, -2 + 6, -3 + 6])
    assert rude.value == pytest.approx(odds[1:].sum() / odds.sum(), abs=1e-4)
    assert rude.reason == 'tox: 1.00 insult in "You are an awful stupid idiot."'
    assert kind.value < 0.05
    assert kind.reason.startswith("tox: 0.02 insult")


def test_of_labels_that_do_not_exclude_each_other_the_highest_counts(scorer_of, tmp_path: Path):
    weights = {word: [row[1], row[0]] for word, row in TOXIC_WORDS.items()}
    labels = {"id2label": {"0": "toxic", "1": "threat"}, "problem_type": "multi_label_classification"}
    scorer = scorer_of("toxicity", classifier(tmp_path / "tox", weights, [-3.0, -3.0], **labels))
    assert scorer.score(RUDE).value == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-4)


def test_the_prompt_is_judged_apart_from_the_answer(scorer_of, tmp_path: Path):
    model = classifier(tmp_path / "tox", TOXIC_WORDS, [2.0, -2.0])
    prompt, response = scorer_of("prompt_toxicity", model), scorer_of("toxicity", model)
    assert prompt.score(KIND).value > 0.9 > 0.1 > response.score(KIND).value
    assert response.score(RUDE).value > 0.9 > 0.1 > prompt.score(RUDE).value


# Texts


@pytest.mark.parametrize("kind", ["embedding", "cross-encoder", "nli", "tokens", "classifier"])
def test_many_together_get_the_verdicts_that_each_gets_alone(scorer_of, tmp_path: Path, kind: str):
    made = {
        "embedding": ("relevance", embedder),
        "cross-encoder": ("relevance", partial(supporter, outputs=1)),
        "nli": ("groundedness", partial(supporter, outputs=2)),
        "tokens": ("groundedness", marker),
        "classifier": ("toxicity", partial(classifier, weights=TOXIC_WORDS, bias=[2.0, -2.0])),
    }
    metric, make = made[kind]
    scorer = scorer_of(metric, make(tmp_path / "m"), max_tokens=64)
    together = scorer.score_all(CONVERSATIONS * 8)
    alone = [scorer.score(conversation) for conversation in CONVERSATIONS] * 8
    assert [v.reason for v in together] == [v.reason for v in alone]
    assert [v.value for v in together] == pytest.approx([v.value for v in alone], abs=1e-3)
    assert sum(v.value is not None and "local" not in v.reason for v in together) >= 24


def test_nothing_together_is_nothing(scorer_of, tmp_path: Path):
    assert scorer_of("relevance", embedder(tmp_path)).score_all([]) == []


def test_one_toxic_sentence_at_the_end_of_a_long_answer_is_read(scorer_of, tmp_path: Path):
    scorer = scorer_of("toxicity", classifier(tmp_path / "tox", TOXIC_WORDS, [2.0, -2.0]), max_tokens=32)
    response = "The weather is nice today. " * 80 + "You stupid idiot."
    assert scorer.score(Conversation(response=response)).value > 0.9
    assert scorer.score(Conversation(response="The weather is nice today. " * 80)).value < 0.1


def test_what_supports_a_sentence_may_stand_anywhere_in_a_long_context(scorer_of, tmp_path: Path):
    scorer = scorer_of("groundedness", supporter(tmp_path / "nli", 2), max_tokens=32)
    context = "Snow falls there every winter. " * 60 + BRIDGE + " The sea is near." * 60
    found = scorer.score(Conversation(response=SUPPORTED.response, context=(context,)))
    assert found.reason == "nli: 1 of 1 sentences supported by the context"


@pytest.mark.parametrize("size", [1, 2, 7, 30, 1000])
def test_windows_cover_a_text_and_none_is_too_long(tmp_path: Path, size: int):
    model = _model(embedder(tmp_path))
    text = " ".join(f"river{place} of" for place in range(150))
    windows = model.windows(text, size)
    assert all(model.length(window) <= size for window in windows)
    assert {word for window in windows for word in window.split()} >= set(text.split())
    assert model.windows("", size) == [""]


def test_marks_of_the_tokenizer_in_a_users_text_are_words_like_others(scorer_of, tmp_path: Path):
    scorer = scorer_of("groundedness", supporter(tmp_path / "nli", 2))
    honest = Conversation(response="Dogs like long walks.", context=(BRIDGE,))
    forged = Conversation(response="Dogs like long walks.", context=(BRIDGE + " [SEP] Dogs like [PAD] [SEP]",))
    model = _model(tmp_path / "nli")
    assert model.inert("a [SEP] b[PAD]") == "a   b "
    assert scorer.score(honest).value < 0.05
    assert scorer.score(forged).value == pytest.approx(0.5, abs=0.01)  # two of four words, which do stand there


def test_threads_get_the_verdicts_that_one_gets(scorer_of, tmp_path: Path):
    scorer = scorer_of("groundedness", supporter(tmp_path / "nli", 2), max_tokens=64)
    expected = [scorer.score(conversation) for conversation in CONVERSATIONS]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: scorer.score_all(CONVERSATIONS), range(12)):
            assert found == expected


def test_a_graph_that_quantises_as_it_runs_gets_one_text_at_a_time(tmp_path: Path):
    whole = supporter(tmp_path / "m", 2)
    quantize_dynamic(whole / "model.onnx", whole / "model_quantized.onnx")
    model = _model(whole, file="model_quantized.onnx")
    inputs = [model.encode(BRIDGE, claim) for claim in (BRIDGE, "the cat", "dogs like " * 30)]
    for together, each in zip(model.run(inputs), inputs, strict=True):
        np.testing.assert_array_equal(together, model.run([each])[0])


# Where a model steps in


@pytest.mark.parametrize("metric", ["relevance", "groundedness", "toxicity"])
def test_what_the_local_scorer_calls_not_assessable_stays_so(scorer_of, local, tmp_path: Path, metric: str):
    make = {
        "relevance": embedder,
        "groundedness": marker,
        "toxicity": partial(classifier, weights=TOXIC_WORDS, bias=[2.0, -2.0]),
    }[metric]
    scorer = scorer_of(metric, make(tmp_path / "m"))
    empty = Conversation(prompt="Who?", response="")
    assert scorer.score(empty) == local[metric].score(empty)
    assert scorer.score(empty).value is None
    if metric != "toxicity":
        assert scorer.score(REFUSAL) == local[metric].score(REFUSAL)
        assert scorer.score(REFUSAL).label == "refusal"


def test_an_answer_with_nothing_to_check_it_against_is_never_grounded(scorer_of, tmp_path: Path):
    found = scorer_of("groundedness", supporter(tmp_path, 2)).score(KIND)
    assert (found.value, found.label) == (None, "no context")


def test_a_sample_is_the_share_asked_for_and_always_the_same(scorer_of, local, tmp_path: Path):
    scorer = scorer_of("relevance", embedder(tmp_path / "m"), sample=0.3)
    many = [Conversation(prompt=f"What is river {n}?", response=f"River {n} is a river.") for n in range(200)]
    first, again = scorer.score_all(many), scorer.score_all(many[::-1])[::-1]
    assert first == again
    judged = [conversation for conversation, v in zip(many, first, strict=True) if v.reason.startswith("m: cosine")]
    assert judged == [conversation for conversation in many if share_of(conversation) < 0.3]
    assert 35 <= len(judged) <= 85
    left = next(at for at, conversation in enumerate(many) if share_of(conversation) >= 0.3)
    stands = local["relevance"].score(many[left])
    assert (first[left].value, first[left].reason) == (stands.value, stands.reason + " (by the local scorer)")


def test_a_sample_of_none_asks_the_model_for_nothing(scorer_of, tmp_path: Path):
    scorer = scorer_of("relevance", embedder(tmp_path), sample=0.0)
    assert "local scorer" in scorer.score(SUPPORTED).reason


def test_only_what_is_in_doubt_is_judged_again(scorer_of, local, tmp_path: Path):
    low, high = sorted(local["relevance"].score(each).value for each in (SUPPORTED, KIND))
    scorer = scorer_of("relevance", embedder(tmp_path / "m"), in_doubt=(0.0, (low + high) / 2))
    verdicts = {local["relevance"].score(each).value: scorer.score(each) for each in (SUPPORTED, KIND)}
    assert verdicts[low].reason.startswith("m: cosine")
    assert verdicts[high].value == high


def test_the_version_follows_the_files_and_what_decides_a_verdict(scorer_of, tmp_path: Path):
    first, same = embedder(tmp_path / "a"), embedder(tmp_path / "b")
    version = scorer_of("relevance", first).version
    assert scorer_of("relevance", same, threads=2).version == version
    assert scorer_of("relevance", same, sample=0.5).version != version
    weights = onnx.load(first / "model.onnx")
    weights.doc_string = "changed"
    onnx.save(weights, first / "model.onnx")
    assert scorer_of("relevance", first).version != version


# MiniLM


def test_minilm_from_its_wheel_tells_an_answer_from_one_to_another_question(scorer_of):
    scorer = scorer_of("relevance", "minilm")
    prompt = "How do plants turn sunlight into energy?"
    own = "Photosynthesis takes place in the leaves, where chlorophyll absorbs light and sugar is formed."
    other = "The orchestra rehearsed the symphony twice before the concert in Vienna."
    found = scorer.score_all([Conversation(prompt=prompt, response=text) for text in (own, other)])
    assert found[0].value > 0.8 > 0.2 > found[1].value


def test_the_shipped_vocabulary_reads_as_berts_tokenizer_does():
    model = OnnxModel(find_files(Onnx(model="minilm")), Onnx(model="minilm"))
    # The ids of bert-base-uncased, as its model card's example and its vocabulary give them.
    assert model.encode("Hello, I'm a language model. Ünaffable").ids == [
        101, 7592, 1010, 1045, 1005, 1049, 1037, 2653, 2944, 1012, 14477, 20961, 3468, 102,
    ]  # fmt: skip
    assert model.encode("a", "b").type_ids == [0, 0, 0, 1, 1]
    assert model.max_tokens == 256


# What goes wrong


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_without_the_extra_the_message_says_how_to_install_it(scorer_of, tmp_path: Path, monkeypatch, module: str):
    model = embedder(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"\[quality.onnx.relevance\]: .*pip install 'assay\[onnx\]'"):
        scorer_of("relevance", model)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.onnx"])
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_is_missing_or_broken_is_named(scorer_of, tmp_path: Path, file: str, content: str | None):
    model = embedder(tmp_path)
    (model / file).unlink()
    if content is not None:
        (model / file).write_text(content)
    named = "no ONNX graph" if file == "model.onnx" and content is None else file
    with pytest.raises(ConfigError, match=named):
        scorer_of("relevance", model)


def test_a_graph_is_found_under_its_usual_names_and_several_must_be_told_apart(scorer_of, tmp_path: Path):
    model = embedder(tmp_path)
    (model / "onnx").mkdir()
    quantised = (model / "model.onnx").rename(model / "onnx" / "model_qint8_avx512.onnx")
    assert find_files(Onnx(model=str(model))).graph == quantised
    (model / "onnx" / "model_int8.onnx").write_bytes(quantised.read_bytes())
    with pytest.raises(ConfigError, match=r'`file` to one of "onnx/model_int8.onnx", "onnx/model_qint8_avx512.onnx"'):
        scorer_of("relevance", model)
    assert find_files(Onnx(model=str(model), file="onnx/model_int8.onnx")).graph.name == "model_int8.onnx"
    with pytest.raises(ConfigError, match=r"none.onnx not found"):
        scorer_of("relevance", model, file="none.onnx")


def test_a_model_that_cannot_judge_the_metric_is_refused(scorer_of, tmp_path: Path):
    with pytest.raises(ConfigError, match="looks like embedding, but groundedness is judged by nli"):
        scorer_of("groundedness", embedder(tmp_path / "e"))
    two = supporter(tmp_path / "two", 2)
    with pytest.raises(ConfigError, match="has 2 outputs: a cross-encoder has one"):
        scorer_of("groundedness", two, kind="cross-encoder")
    with pytest.raises(ConfigError, match="answers for a text as a whole: that is no tokens model"):
        scorer_of("groundedness", two, kind="tokens")
    with pytest.raises(ConfigError, match="answers for each token: that is no nli model"):
        scorer_of("groundedness", marker(tmp_path / "marker"), kind="nli")
    with pytest.raises(ConfigError, match="no label yes; it has: LABEL_0, LABEL_1"):
        scorer_of("groundedness", two, labels=("yes",))
    with pytest.raises(ConfigError, match=r"has 2 outputs, config\.json names 3 labels"):
        scorer_of("groundedness", supporter(tmp_path / "three", 2, id2label={"0": "a", "1": "b", "2": "c"}))
    with pytest.raises(ConfigError, match="Set `labels` to some of: a, b, c"):
        scorer_of("toxicity", classifier(tmp_path / "abc", {}, [0.0] * 3, id2label={"0": "a", "1": "b", "2": "c"}))


def test_a_graph_with_inputs_of_another_kind_is_refused(scorer_of, tmp_path: Path):
    model = embedder(tmp_path)
    graph = onnx.load(model / "model.onnx")
    graph.graph.input[0].name = graph.graph.node[0].input[1] = "pixel_values"
    onnx.save(graph, model / "model.onnx")
    with pytest.raises(ConfigError, match="takes pixel_values: an encoder takes input_ids"):
        scorer_of("relevance", model)


def test_a_model_that_fails_on_a_text_fails_that_verdict_alone(scorer_of, tmp_path: Path):
    model = embedder(tmp_path / "m")
    tokens = json.loads((model / "tokenizer.json").read_text())
    tokens["model"]["vocab"]["sea"] = 5_000  # beyond the graph's table
    (model / "tokenizer.json").write_text(json.dumps(tokens))
    scorer = scorer_of("relevance", model)
    with pytest.raises(ModelError, match=r"m failed on \d+ x \d+ tokens"):
        scorer.score(Conversation(prompt="What is near the city?", response="The sea is near the city."))
    failed = assess([scorer], Conversation(prompt="What is near the city?", response="The sea is near the city."))
    assert failed["relevance"].label == "failed"
    assert scorer.score(SUPPORTED).value > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('[quality.onnx.coherence]\nmodel = "x"', "no ONNX model can judge 'coherence'"),
        ('[quality.onnx.toxicity]\nmodel = "x"\nkind = "nli"', "toxicity is judged by classifier, not by nli"),
        ('[quality.onnx.toxicity]\nmodel = ""', "model"),
        ('[quality.onnx.toxicity]\nmodel = "x"\nsample = 1.5', "sample"),
        ('[quality.onnx.toxicity]\nmodel = "x"\nin_doubt = [0.7, 0.3]', r"not \[0.7, 0.3\]"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, monkeypatch, settings: str, message: str):
    monkeypatch.chdir(tmp_path)
    Path("assay.toml").write_text(settings)
    with pytest.raises(ConfigError, match=message):
        load_config()


def test_a_model_that_cannot_be_loaded_costs_its_own_metric_only(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("assay.toml").write_text(
        f'[quality.metrics]\nrelevance = "onnx"\ntoxicity = "onnx"\ngroundedness = "onnx"\n'
        f'[quality.onnx.relevance]\nmodel = "{embedder(tmp_path / "m")}"\n[quality.onnx.toxicity]\nmodel = "./none"\n'
    )
    found = load("onnx", load_config().quality)
    assert [scorer.name for scorer in found.scorers] == ["relevance"]
    assert len(found.problems) == 2
    assert "no model directory './none'" in found.problems[0]
    assert "groundedness by onnx needs a model: set model in [quality.onnx.groundedness]" in found.problems[1]


def test_a_scoring_process_runs_the_models_in_a_lane_of_their_own(tmp_path: Path):
    models = {"groundedness": Onnx(model=str(supporter(tmp_path / "nli", 2)))}
    settings = Quality(metrics={"groundedness": "onnx"}, onnx=models, timeout_seconds=60.0)
    calls = [
        call(str(at), text) for at, text in enumerate(["The stone bridge was built in 1874.", "Dogs like it."] * 10)
    ]
    calls = [each | {"documents": json.dumps([{"content": BRIDGE}])} for each in calls]
    assert lanes(settings) == ("quality", "onnx")
    assert "groundedness" not in {scorer.name for scorer in load("quality", settings).scorers}
    process = ScoringProcess("onnx", settings)
    found = process(calls)
    process.close()
    assert [(score.name, score.scorer, score.source) for score in found] == [("groundedness", "onnx", "scorer")] * 20
    by_call = {score.target: score.value for score in found}
    assert all((by_call[str(at)] or 0) > 0.9 for at in range(0, 20, 2))
    assert all((by_call[str(at)] or 0) < 0.1 for at in range(1, 20, 2))


# The hub


class Hub:
    """A model hub on loopback with one repository; `asked` are the paths that it was asked for."""

    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(False)

            def do_GET(self) -> None:
                self.answer(True)

            def answer(self, whole: bool) -> None:
                hub.asked.append(self.path)
                kind, content = hub.found(directory, self.path.split("?")[0])
                self.send_response(200 if kind else 404)
                if kind == "file":
                    self.send_header("ETag", f'"{hash(content):x}"')
                    self.send_header("X-Repo-Commit", hub.commit)
                if not kind:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Type", "application/json" if kind == "json" else "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if whole:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def found(self, directory: Path, path: str) -> tuple[str, bytes]:
        names = sorted(each.name for each in directory.iterdir())
        if path.startswith("/api/models/tiny/verifier/revision/"):
            siblings = [{"rfilename": name} for name in names]
            return "json", json.dumps({"id": "tiny/verifier", "sha": self.commit, "siblings": siblings}).encode()
        if path.startswith("/api/models/tiny/verifier/tree/"):
            files = [
                {"type": "file", "oid": f"{at:040x}", "size": (directory / name).stat().st_size, "path": name}
                for at, name in enumerate(names)
            ]
            return "json", json.dumps(files).encode()
        if path.startswith(f"/tiny/verifier/resolve/{self.commit}/"):
            return "file", (directory / path.rsplit("/", 1)[1]).read_bytes()
        return "", b"{}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    directory = supporter(tmp_path / "published", 2)
    (directory / "pytorch_model.bin").write_bytes(b"not wanted")
    served = Hub(directory)
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served
    served.close()


def test_a_model_named_in_the_settings_is_fetched_once_and_only_its_needed_files(scorer_of, hub: Hub):
    scorer = scorer_of("groundedness", "tiny/verifier", revision="v1")
    assert scorer.score(SUPPORTED).reason == "tiny/verifier: 1 of 1 sentences supported by the context"
    assert any("/revision/v1" in path for path in hub.asked)
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "model.onnx", "tokenizer.json"}
    hub.close()
    assert scorer_of("groundedness", "tiny/verifier", revision="v1").version == scorer.version


def test_a_hub_without_the_model_or_out_of_reach_is_told_with_the_way_around(scorer_of, hub: Hub):
    with pytest.raises(ConfigError, match=r"cannot fetch tiny/other from http://127.0.0.1:\d+: .*into a directory"):
        scorer_of("groundedness", "tiny/other")
    hub.close()
    with pytest.raises(ConfigError, match=r"cannot fetch tiny/verifier .*set model to it"):
        scorer_of("groundedness", "tiny/verifier")


# The bench


def test_the_bench_measures_the_models_of_the_settings(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = supporter(tmp_path / "nli", 2)
    Path("assay.toml").write_text(f'[quality.onnx.groundedness]\nmodel = "{model}"\n')
    rows = [
        {"target": "response", "response": text, "context": BRIDGE, "label": label}
        for text, label in [
            ("The stone bridge was built in 1874.", 1),
            ("A wooden fence is near the lake.", 1),
            ("Dogs like long walks every winter.", 0),
            ("Snow falls there every winter.", 0),
        ]
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "groundedness-own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = CliRunner().invoke(app, ["quality", "bench", "--data", "data", "--set", "onnx", "--json"])
    assert found.exit_code == 0, found.output
    (figures,) = json.loads(found.stdout)
    assert (figures["set"], figures["n"], figures["auroc"]) == ("onnx", 4, 1.0)


def _model(directory: Path, **settings: object) -> OnnxModel:
    given = Onnx(model=str(directory), **settings)  # type: ignore[arg-type]
    return OnnxModel(find_files(given), given)
