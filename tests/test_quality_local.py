"""The default set on conversations that a person can judge at a glance."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.quality.scorer import Conversation, Scorer, Verdict, assess
from assay.quality.sets import scorers

LEARNING = (
    "Machine learning is a field of artificial intelligence in which algorithms learn patterns from data "
    "instead of being programmed by hand. A model is trained on examples and then makes predictions."
)
PHOTOSYNTHESIS = (
    "Photosynthesis is how plants make food. In simple terms, leaves take in sunlight, water and carbon "
    "dioxide, and turn them into sugar and oxygen."
)
MARS = (
    "The weather on Mars is cold and dry. Temperatures average about -60 degrees Celsius, and dust storms "
    "can cover the whole planet for weeks."
)
PASTA = "To cook pasta, boil plenty of salted water, add the pasta and stir. Drain it after nine minutes."
REFUSAL = "I'm sorry, but I can't help with that. I can't write messages that are meant to hurt someone."
QUESTIONS = {
    "What is machine learning?": LEARNING,
    "Explain photosynthesis in simple terms": PHOTOSYNTHESIS,
    "Tell me about the weather on Mars": MARS,
    "What is 2+2?": "2+2 equals 4.",
    "How do I cook pasta?": PASTA,
}
REPORT = (
    "The Aurora Bridge opened in 1932 and is 898 metres long. It was designed by the firm Jacobs & Ober and "
    "carries six lanes of traffic over the lake. In 2011 a fence was added along both sides."
)
GERMAN = "Die Photosynthese ist der Vorgang, mit dem Pflanzen Licht in Energie umwandeln und Zucker bilden."
CODE = "```python\ndef add(a, b):\n    total = a + b\n    return total\n```"
TABLE = "| city | people |\n|---|---|\n| Bonn | 330000 |\n| Kiel | 247000 |"


@pytest.fixture(scope="module")
def local() -> tuple[Scorer, ...]:
    return scorers("local")


@pytest.fixture(scope="module")
def judge(local: tuple[Scorer, ...]):
    def judged(metric: str, response: str, prompt: str = "", **more: object) -> Verdict:
        conversation = Conversation(prompt=prompt, response=response, **more)  # type: ignore[arg-type]
        return assess(local, conversation)[metric]

    return judged


@pytest.mark.parametrize(("prompt", "response"), QUESTIONS.items())
def test_an_answer_to_the_question_is_relevant(judge, prompt: str, response: str):
    assert judge("relevance", response, prompt).value > 0.7


@pytest.mark.parametrize(
    ("prompt", "response"),
    [(p, r) for p in QUESTIONS for q, r in QUESTIONS.items() if p != q],
)
def test_an_answer_to_another_question_is_not_relevant(judge, prompt: str, response: str):
    found = judge("relevance", response, prompt)
    if prompt == "What is 2+2?":
        assert found.reason == "not assessable: too few known words to compare"
    else:
        assert found.value < 0.4


@pytest.mark.parametrize("response", ["4", "The answer is 4.", "Four."])
def test_an_answer_that_shares_no_word_with_a_sum_is_not_assessed(judge, response: str):
    found = judge("relevance", response, "What is 2+2?")
    assert (found.value, found.reason) == (None, "not assessable: too few known words to compare")


def test_the_reason_for_a_relevance_names_the_words_taken_up_and_left_out(judge):
    reason = judge("relevance", MARS, "Tell me about the weather on Venus").reason
    assert "takes up: weather" in reason
    assert "leaves out: Venus" in reason


@pytest.mark.parametrize("response", QUESTIONS.values())
def test_a_polite_answer_is_not_toxic(judge, response: str):
    assert judge("toxicity", response).value < 0.1


@pytest.mark.parametrize(
    "response",
    [
        "I hate you, you stupid idiot.",
        "What a stupid question. Only an idiot would ask that.",
        "You are an idiot and I hate people like you. Go away.",
        "Honestly, I hate this stupid question and you are an idiot for asking it.",
        "You are a s t u p i d  b i t c h",
        "You are a stup\u200bid id\u200biot, you mor\u200bon",
        "Yоu аrе а stuрid idiоt",
        "Ｙｏｕ ｓｔｕｐｉｄ ｉｄｉｏｔ",
    ],
)
def test_a_rude_answer_is_toxic_even_when_its_letters_are_disguised(judge, response: str):
    assert judge("toxicity", response).value > 0.5


@pytest.mark.parametrize(
    "response",
    [
        "Whatever you like, I hate to see food wasted.",
        REFUSAL,
        "To kill a process, use kill -9 with its number.",
    ],
)
def test_a_harmless_answer_with_a_harsh_word_is_not_toxic(judge, response: str):
    assert judge("toxicity", response).value < 0.5


def test_toxicity_finds_one_bad_passage_in_a_long_answer_and_shows_it(judge):
    long = f"{PHOTOSYNTHESIS} {MARS} " * 6
    bad = "You stupid fucking idiot, I hope you die. Nobody likes you, you worthless piece of shit, so shut up, bitch."
    buried = judge("toxicity", f"{long} {bad} {long}")
    assert buried.value > 0.5
    assert "idiot" in buried.reason


def test_prompt_and_response_are_judged_apart_for_toxicity(judge):
    rude, kind = "You stupid worthless idiot, shut up", "How may I help you with your garden today?"
    assert judge("prompt_toxicity", kind, rude).value > 0.5
    assert judge("toxicity", kind, rude).value < 0.1
    assert judge("prompt_toxicity", rude, kind).value < 0.1
    assert judge("toxicity", rude, kind).value > 0.5


def test_a_refusal_has_a_flag_of_its_own_and_leaves_the_other_averages(judge):
    prompt = "Write a harmful message"
    for metric in ("relevance", "coherence", "groundedness"):
        found = judge(metric, REFUSAL, prompt, context=(REPORT,))
        assert (found.value, found.label) == (None, "refusal")
    flag = judge("refusal", REFUSAL, prompt)
    assert (flag.value, flag.label) == (1.0, "refusal")
    assert flag.reason == "declines: \"I'm sorry, but I can't help with that. I can't\""
    assert judge("toxicity", REFUSAL, prompt).value < 0.1


@pytest.mark.parametrize("response", QUESTIONS.values())
def test_an_answer_is_no_refusal(judge, response: str):
    assert judge("refusal", response).value == 0.0


def test_an_apology_that_goes_on_to_answer_is_no_refusal(judge):
    answer = "I'm sorry, but I can't be certain. However, here is what machine learning is about: algorithms."
    assert judge("relevance", answer, "What is machine learning?").label == ""


@pytest.mark.parametrize("response", QUESTIONS.values())
def test_a_sound_answer_is_coherent(judge, response: str):
    found = judge("coherence", response)
    assert found.value > 0.8
    assert found.reason == "no loops, no noise, one subject, usual word order, complete"


@pytest.mark.parametrize(
    ("response", "sign"),
    [
        (f"{PHOTOSYNTHESIS} {'Leaves take in sunlight. ' * 12}", "loops"),
        ("Plnats mkae fodo frmo snulihgt adn wtaer ni teh levaes dna rleease oyxgen itno hte ari.", "noise"),
        (
            "cold the is on dry weather and Mars. of storms whole can the cover dust planet weeks for. "
            "average about temperatures the degrees are sixty",
            "word salad",
        ),
        (f"{MARS} The atmosphere is thin, and it is made of", "cut off"),
        (
            "Weather Mars cold dry temperatures average sixty degrees dust storms cover whole planet weeks.",
            "lost words",
        ),
        (f"{LEARNING} {MARS}", "another subject"),
        ("Here is how:\n\n1. Boil the water\n3. Drain it\n2. Add the pasta to the water", "out of order"),
        (f"{MARS} The atmosphere is thin and holds mostly carbon dioxide", "cut off"),
    ],
    ids=["loop", "noise", "salad", "cut in a phrase", "words dropped", "splice", "items", "no end mark"],
)
def test_broken_output_scores_low_and_the_reason_names_the_break(judge, response: str, sign: str):
    found = judge("coherence", response)
    assert found.value <= 0.5
    assert sign in found.reason


def test_an_answer_that_the_provider_cut_is_not_whole(judge):
    assert judge("coherence", MARS, finish_reason="length").value < 0.3
    assert judge("coherence", MARS, finish_reason="stop").value > 0.8


def test_an_answer_of_list_items_is_not_cut_off(judge):
    steps = "Here is how to cook pasta:\n\n1. Boil the water\n2. Add salt\n3. Add the pasta\n4. Drain it"
    assert judge("coherence", steps).value > 0.8


def test_groundedness_counts_supported_sentences_and_names_what_is_new(judge):
    answer = "The Aurora Bridge opened in 1932 and is 898 metres long. It cost Mayor Brown 44 million dollars."
    found = judge("groundedness", answer, context=(REPORT,))
    assert found.reason == (
        "1 of 2 sentences supported by the context; not supported: "
        '"It cost Mayor Brown 44 million dollars."; not in it: 44, Mayor, Brown'
    )


def test_a_copy_is_grounded_and_an_invention_is_not(judge):
    assert judge("groundedness", REPORT, context=(REPORT,)).value > 0.9
    assert judge("groundedness", MARS, context=(REPORT,)).value < 0.1


def test_each_sentence_may_rest_on_another_document(judge):
    answer = f"{REPORT} {MARS}"
    both = judge("groundedness", answer, context=(PASTA, MARS, REPORT))
    assert both.value > 0.9
    assert judge("groundedness", answer, context=(REPORT,)).value < both.value


def test_a_changed_number_lowers_groundedness(judge):
    changed = REPORT.replace("1932", "1977")
    assert (
        judge("groundedness", changed, context=(REPORT,)).value < judge("groundedness", REPORT, context=(REPORT,)).value
    )


def test_without_a_text_to_check_against_groundedness_is_null(judge):
    found = judge("groundedness", LEARNING, "What is machine learning?", system="You are helpful.")
    assert found == Verdict(
        value=None, reason="not assessable: nothing to check the answer against", label="no context"
    )


def test_a_long_system_prompt_or_user_text_stands_in_for_documents(judge):
    facts = f"You answer visitors. {REPORT} {PHOTOSYNTHESIS}"
    assert "by the system prompt" in judge("groundedness", REPORT, system=facts).reason
    request = f"Summarise this: {REPORT} {PHOTOSYNTHESIS} {MARS}"
    assert "by the user's text" in judge("groundedness", REPORT, request).reason


def labels(local: tuple[Scorer, ...], response: str, finish_reason: str = "stop") -> dict[str, str]:
    conversation = Conversation(prompt="How do plants use light?", response=response, finish_reason=finish_reason)
    found = assess(local, conversation)
    assert found.pop("prompt_toxicity").value is not None
    return {name: v.label if v.value is None else "scored" for name, v in found.items()}


def all_but(label: str, **others: str) -> dict[str, str]:
    names = ("relevance", "coherence", "toxicity", "groundedness", "refusal")
    return dict.fromkeys(names, label) | others


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", all_but("empty")),
        (" \u200b\n", all_but("empty")),
        ("?!", all_but("short", toxicity="empty")),
        ("Sunlight.", all_but("scored", coherence="short", groundedness="no context")),
        (CODE, all_but("code", toxicity="scored", refusal="scored")),
        ('{"light": "sun"}', all_but("json", toxicity="scored", groundedness="no context", refusal="scored")),
        (TABLE, all_but("scored", coherence="table", groundedness="no context")),
        (GERMAN, all_but("foreign")),
        ("光合作用は植物が光を使って糖を作る過程です。", all_but("foreign")),
    ],
    ids=["empty", "invisible", "marks", "one word", "code", "json", "table", "german", "japanese"],
)
def test_texts_that_are_not_english_prose_have_defined_verdicts(local, response: str, expected: dict[str, str]):
    assert labels(local, response) == expected


@pytest.mark.parametrize("finish_reason", ["tool_calls", "tool_use", "function_call"])
def test_a_tool_call_without_text_is_not_assessed(local, finish_reason: str):
    assert labels(local, "", finish_reason) == all_but("tool call", toxicity="empty")


def test_a_stream_that_its_reader_left_is_not_called_broken(local, judge):
    half = "Plants take in light with the green of their leaves and"
    assert labels(local, half, "cancelled") == all_but("scored", coherence="partial", groundedness="no context")
    assert judge("coherence", half, finish_reason="stop").value < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "¿Cómo puedo hervir un huevo para que quede bien?",
        "Pourquoi le ciel est bleu quand il fait beau ?",
        "Wie kann ich ein Ei kochen, ohne dass es platzt?",
        "Perché il cielo è così blu questa mattina?",
        "Hoe kan ik een ei koken zonder dat het barst?",
        "Jak mogę ugotować jajko, żeby nie pękło?",
        "Почему небо синее?",
        "Como eu faço para cozinhar ovos? Não sei como isso funciona.",
    ],
)
def test_a_question_in_another_language_is_not_assessed(judge, text: str):
    assert judge("relevance", PASTA, text).label == "foreign"
    assert judge("prompt_toxicity", PASTA, text).label == "foreign"


@pytest.mark.parametrize("text", ["Who was Ludwig van Beethoven?", "Is the café in Rio de la Plata any good?"])
def test_english_with_foreign_names_is_english(judge, text: str):
    assert judge("prompt_toxicity", PASTA, text).label == ""


def test_prose_around_code_is_still_scored(judge):
    answer = f"You add two numbers in Python with a function like this:\n{CODE}\nCall it with the two numbers."
    assert judge("relevance", answer, "How do I add two numbers in Python?").value > 0.7
    assert judge("coherence", answer).value > 0.8


def test_a_flagged_word_in_another_language_is_judged_with_low_confidence(judge):
    found = judge("toxicity", "Du bist für mich ein fucking asshole und nicht mehr")
    assert found.value > 0.5
    assert found.confidence == 0.3
    assert judge("toxicity", PHOTOSYNTHESIS).confidence == 0.7


def test_text_past_the_cap_changes_nothing(judge):
    capped = "a quiet walk. " * 400
    for metric in ("relevance", "toxicity", "coherence", "refusal"):
        assert judge(metric, capped, "A quiet walk?") == judge(metric, capped + "You stupid idiot", "A quiet walk?")


def test_a_huge_answer_is_not_called_cut_off_where_reading_stopped(judge):
    varied = " ".join(f"{s}" for s in [LEARNING, PHOTOSYNTHESIS, MARS, REPORT, PASTA])
    found = judge("coherence", (varied + " ") * 8)
    assert "cut off" not in found.reason


def test_repeating_a_harmless_answer_does_not_make_it_toxic(judge):
    once, often = judge("toxicity", MARS).value, judge("toxicity", f"{MARS} " * 20).value
    assert often < 0.1
    assert abs(often - once) < 0.1


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text(max_size=300),
    response=st.text(max_size=600),
    system=st.text(max_size=100),
    context=st.lists(st.text(max_size=300), max_size=3).map(tuple),
    finish_reason=st.sampled_from(["", "stop", "length", "tool_calls"]),
)
def test_no_text_makes_a_scorer_fail(local, prompt, response, system, context, finish_reason):
    conversation = Conversation(
        prompt=prompt, response=response, system=system, context=context, finish_reason=finish_reason
    )
    for found in assess(local, conversation).values():
        assert found.label != "failed", found.reason
        assert "\n" not in found.reason


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "the",
                "of",
                "plant",
                "Light",
                "42",
                "{}",
                "[]",
                "|",
                "```",
                "\n",
                "~~~",
                "\u200b",
                "аb",
                "ß",
                "光",
                "\t",
                ",",
                ".",
                "!",
                "*",
                "x-y",
            ]
        ),
        max_size=60,
    )
)
def test_no_mixture_of_markup_makes_a_scorer_fail(local, parts):
    text = " ".join(parts)
    for found in assess(local, Conversation(prompt=text, response=text, context=(text,))).values():
        assert found.label != "failed", found.reason


@pytest.mark.parametrize(
    "text",
    ["[" * 9000, "a" * 9000 + "я", "." * 9000, "(" * 9000, "`" * 9000, "```\n" * 3000, "a. " * 3000, "\ufdfa" * 9000,
     "x=(" * 3000, "'" * 9000, "| " * 4000, "a_" * 4000, "\n" * 9000, "{\"a\":" * 2000, "sorry " * 2000],
    ids=range(15),
)  # fmt: skip
def test_hostile_text_neither_fails_nor_takes_long(local, text: str):
    started = time.process_time()
    found = assess(local, Conversation(prompt=text, response=text, context=(text,)))
    assert time.process_time() - started < 0.5
    assert [v.reason for v in found.values() if v.label == "failed"] == []


def test_the_same_conversation_always_gets_the_same_verdicts(local):
    conversation = Conversation(prompt="What is machine learning?", response=LEARNING, context=(REPORT,))
    first = assess(local, conversation)
    assess(local, Conversation(prompt="x", response=REFUSAL))
    assert assess(local, conversation) == first == assess(scorers("local"), conversation)


def test_importing_the_package_loads_no_weights():
    program = (
        "import sys, pathlib, numpy\n"
        "def no_loading(*_, **__): raise AssertionError('loaded at import')\n"
        "numpy.load = no_loading\n"
        "import assay.quality.sets, assay.quality.local\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
