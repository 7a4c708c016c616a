"""Scoring many at once gives what scoring each alone gives, and the fast ways of reading text what plain ones do."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.quality import refusal
from assay.quality.coherence import likenesses
from assay.quality.scorer import SHARED, Conversation, Scorer, Verdict, assess, assess_all
from assay.quality.sets import scorers
from assay.quality.text import sentences, words
from assay.quality.toxicity import BYTE_BUCKETS, SEGMENT_WORDS, Network, ToxicityModel, fold, ngrams, tokens
from assay.quality.words import load_words

PASSAGES = (
    "",
    "The Aurora Bridge opened in 1932 and is 898 metres long. It carries six lanes of traffic over the lake.",
    "You stupid idiot, shut up!",
    "I'm sorry, but I can't help with that.",
    "Where's the \"Café\"? It isn’t far — 5 minutes' walk… 😀",
    "Die Photosynthese ist der Vorgang, mit dem Pflanzen Licht in Energie umwandeln und Zucker bilden.",
    "```python\ndef add(a, b):\n    return a + b\n```",
    "1. Boil water.\n2. Add pasta.\n3. Drain it after nine minutes, and enjoy.\n",
    "f u c k this, yоu mоrоn @someone https://example.com/x",
    "| city | people |\n|---|---|\n| Bonn | 330000 |",
    "?!",
)
text = st.one_of(
    st.lists(st.sampled_from(PASSAGES), max_size=12).map(" ".join),
    st.text(max_size=60),
)
awkward = st.text(alphabet="aZ09 .!?\n\t'’\"_)-*$@é。ß\u00a0\u2028\ud800", max_size=60)


@pytest.fixture(scope="module")
def local() -> tuple[Scorer, ...]:
    return scorers("local")


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(st.tuples(text, text, text, st.sampled_from(["", "stop", "length"])), max_size=8))
def test_a_verdict_in_a_batch_is_the_verdict_alone(local, turns):
    conversations = [
        Conversation(prompt=prompt, response=response, context=(context,), finish_reason=finish)
        for prompt, response, context, finish in turns
    ]
    together = assess_all(local, conversations)
    for found, conversation in zip(together, conversations, strict=True):
        for name, alone in assess(local, conversation).items():
            assert (found[name].label, found[name].confidence) == (alone.label, alone.confidence)
            assert found[name].value == (alone.value if alone.value is None else pytest.approx(alone.value, abs=1e-6))


def test_more_conversations_than_are_scored_in_one_go_keep_their_order(local):
    conversations = [Conversation(prompt="How long is it?", response=PASSAGES[n % 5]) for n in range(2 * SHARED + 3)]
    values = [found["toxicity"].value for found in assess_all(local, conversations)]
    alone = [assess(local, each)["toxicity"].value for each in conversations[:5]]
    assert values[:5] == pytest.approx(alone, abs=1e-6)
    assert values[5:] == pytest.approx(values[:-5], abs=1e-6)


class Many:
    name, scorer, version = "length", "test", "1"

    def __init__(self, answer):
        self.score_all = answer

    def score(self, conversation: Conversation) -> Verdict:
        return Verdict(value=1 / len(conversation.response), reason="alone")


@pytest.mark.parametrize(
    "answer",
    [
        lambda found: 1 / 0,
        lambda found: [],
        lambda found: [Verdict(value=0.0, reason="one too many")] * 9,
        lambda found: None,
    ],
)
def test_where_a_batch_fails_each_is_scored_alone_and_only_those_that_fail_are_null(answer):
    found = assess_all((Many(answer),), [Conversation(response=each) for each in ("ab", "", "abcd")])
    assert [each["length"].value for each in found] == [0.5, None, 0.25]
    assert found[1]["length"].reason == "failed: ZeroDivisionError: division by zero"


def test_a_batch_s_verdicts_are_checked_like_any_other():
    found = assess_all((Many(lambda given: [Verdict(value=7.0, reason="")] * len(given)),), [Conversation()] * 2)
    assert [each["length"].label for each in found] == ["failed", "failed"]


def test_no_conversations_and_no_scorers_are_no_verdicts(local):
    assert assess_all(local, []) == []
    assert assess_all((), [Conversation()] * 3) == [{}, {}, {}]


@given(awkward | st.text())
def test_words_are_letters_and_digits_with_inner_apostrophes(text: str):
    assert words(text) == re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text)


@given(awkward | st.lists(st.sampled_from([*"aB1. !?\n'\")", "12. ", "J. ", 'Yes." ', ".\n"])).map("".join))
def test_sentences_end_after_marks_and_at_line_ends(text: str):
    end = r"(?<=[.!?。！？])(?<!\b\d\.)(?<!\b\d\d\.)(?<!\b[A-Z]\.)[\"')\]]*\s+|\n+"
    assert sentences(text) == [part for part in re.split(end, text) if part and not part.isspace()]


@given(awkward | text)
def test_tokens_are_runs_of_letters_digits_and_signs_that_disguise(text: str):
    folded = fold(text)
    assert tokens(folded) == re.findall(r"[a-z0-9'*$\u0080-\U0010ffff]+", folded)


@given(st.lists(st.sampled_from([*"ab .-_*", "f u c k", " a_b_c ", "é"])).map("".join))
def test_letters_spelled_one_by_one_are_joined_wherever_they_stand(text: str):
    folded = " ".join(text.lower().split())
    joined = re.sub(r"\b(?:\w[ .*_-]){2,}\w\b", lambda found: re.sub(r"[ .*_-]", "", found.group()), folded)
    assert fold(text) == joined


PHRASES = (
    "i", "we", "i'm", "i am", "sorry", "but", "apologise", "can't", "cannot", "won't", "must decline", "unable", "to",
    "help", "as an ai", "do not", "it is", "un", "ethical", "not", "inappropriate", "condone", "against my policy",
    "however", "here's", "some", "don't", "have access", "answer", "programmed", "could not", "comply",
)  # fmt: skip


@given(st.lists(st.sampled_from(PHRASES), max_size=8).map(" ".join))
def test_no_phrase_that_declines_is_missed_for_want_of_its_signs(text: str):
    declines = refusal._REFUSAL.search(text)
    assert not declines or any(sign in text for sign in refusal._SIGNS)


@pytest.fixture(scope="module")
def model() -> ToxicityModel:
    """Weights of a known pattern, so that the n-gram view can be added up by hand."""
    network = Network(np.ones((192, 1), np.float32), np.zeros(1, np.float32), np.ones(1, np.float32), 0.0)
    weights = (np.arange(BYTE_BUCKETS * 3 // 2) % 251 - 125).astype(np.int8)
    return ToxicityModel(load_words(), weights, 1.0, 0.0, network, frozenset({"moron"}), np.ones(5, np.float32), "")


@given(st.lists(text, min_size=1, max_size=4))
def test_the_n_grams_of_a_text_weigh_the_same_in_any_company(model: ToxicityModel, texts: list[str]):
    for each, readout in zip(texts, model.read_all(texts), strict=True):
        grams = ngrams(fold(each))
        if len(grams.tokens) > SEGMENT_WORDS:
            assert np.array_equal(readout.ngrams, model.read(each).ngrams)
            continue
        weight = np.arange(BYTE_BUCKETS * 3 // 2) % 251 - 125
        of_bytes = weight[grams.bytes].sum() / max(len(grams.bytes), 1) ** 0.5
        of_words = weight[BYTE_BUCKETS:][grams.words].sum() / max(len(grams.words), 1) ** 0.5
        assert readout.ngrams.tolist() == [pytest.approx(of_bytes + of_words, rel=1e-5, abs=1e-3)]


@pytest.mark.parametrize("before", ["", "plain words of harmless kind ", "wörter und größen "])
def test_stretches_begin_at_every_fortieth_word(model: ToxicityModel, before: str):
    text = fold(before + "x-ray, one's two " * 40)
    starts = model.read(text).starts
    places = [found.start() for found in re.finditer(r"[a-z0-9'*$\u0080-\U0010ffff]+", text)]
    assert starts == [0, *places[SEGMENT_WORDS::SEGMENT_WORDS]]


@given(st.integers(2, 9), st.integers(0, 10_000), st.booleans())
def test_a_jump_is_seen_in_the_angle_between_what_came_before_and_what_follows(count: int, seed: int, asks: bool):
    rng = np.random.default_rng(seed)
    vectors, asked = rng.normal(size=(count, 6)).astype(np.float32), rng.normal(size=6) * asks
    asked = asked / (np.linalg.norm(asked) or 1)
    for place, found in enumerate(likenesses(vectors, asked), start=1):
        before, after = vectors[:place].astype(float).sum(0), vectors[place:].astype(float).sum(0)
        before = before / np.linalg.norm(before) + asked
        expected = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
        assert found == pytest.approx(expected, abs=1e-6)
