"""Which prompts were asked twice, and how far their answers differ, is what plain Python finds in the same calls."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.analytics.consistency import consistency, spread
from assay.analytics.selection import Selection
from assay.quality.intervals import wilson
from assay.quality.words import Words, load_words
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped

START = 1_763_899_200_000_000


@pytest.fixture(scope="module")
def words() -> Words:
    return load_words()


def insert(store: Store, project: str, *calls: dict[str, Any]) -> None:
    spans = [
        Span(
            **{"response_model": "m", "temperature": 0.0, "prompt": "What is rain?", "response": "Water."}
            | call
            | {"project": project, "trace_id": "t", "span_id": secrets.token_hex(8), "kind": "llm", "counted": True},
            started_at=START + number,
        )
        for number, call in enumerate(calls)
    ]
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))


def figures(store: Store, project: str, words: Words) -> list[tuple[str, float | None, int, int, float]]:
    told = consistency(store, Selection(project=project), words)["by_model"]
    names = ("model", "temperature", "prompts", "calls")
    return [(*(one[name] for name in names), one["inconsistent"]["value"]) for one in told]


PROMPTS = [
    "What is rain?",
    " what is\n RAIN? ",
    "What is snow?",
    "Ｗｈａｔ is rain?",
    "Heißt es?",
    "HEISST ES?",
]
ANSWERS = ["Water.", "water. ", "Drops of water falling from clouds.", "No idea"]


def same(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(folded.split())


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(PROMPTS),
            st.sampled_from(ANSWERS),
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, 0, 1.0]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_consistency_is_what_python_counts(store: Store, words: Words, calls: list[Any]) -> None:
    project = f"same-{secrets.token_hex(4)}"
    insert(
        store,
        project,
        *(
            {"prompt": prompt, "response": answer, "response_model": model, "temperature": temperature}
            for prompt, answer, model, temperature in calls
        ),
    )
    groups: dict[Any, Counter[str]] = defaultdict(Counter)
    for prompt, answer, model, temperature in calls:
        groups[model, temperature, same(prompt)][same(answer)] += 1
    expected: dict[Any, list[Counter[str]]] = defaultdict(list)
    for (model, temperature, _), answers in groups.items():
        if answers.total() > 1:
            expected[model, temperature].append(answers)

    by_model = consistency(store, Selection(project=project), words)["by_model"]
    told = {(one["model"], one["temperature"]): one for one in by_model}

    assert told.keys() == expected.keys()
    for key, prompts in expected.items():
        one, varied = told[key], sum(len(answers) > 1 for answers in prompts)
        assert (one["prompts"], one["calls"]) == (len(prompts), sum(answers.total() for answers in prompts))
        low, high = wilson(varied / len(prompts), len(prompts))
        assert one["inconsistent"] == {"value": varied / len(prompts), "low": low, "high": high}
        pairs = [list(combinations(answers.elements(), 2)) for answers in prompts]
        differing = [sum(first != second for first, second in of_prompt) / len(of_prompt) for of_prompt in pairs]
        assert one["differing"]["value"] == pytest.approx(sum(differing) / len(prompts))


def test_everything_that_was_asked_counts(store: Store, project: str, words: Words) -> None:
    history = '[{"role":"user","parts":[{"type":"text","content":"%s"}]}]'
    insert(
        store,
        project,
        {},
        {"system": "Be brief."},
        {"top_p": 0.5},
        {"max_tokens": 10},
        {"temperature": None},
        {"response_model": "n"},
        {"messages_in": history % "One"},
        {"messages_in": history % "Two"},
        {"tool_definitions": "[{}]"},
    )
    assert figures(store, project, words) == []
    insert(store, project, {"messages_in": history % r" one\n"}, {"messages_in": history % "ONE", "response": "Ice"})
    assert figures(store, project, words) == [("m", 0.0, 1, 3, 1.0)]


def test_failures_and_calls_of_tools_alone_are_left_out(store: Store, project: str, words: Words) -> None:
    insert(store, project, {}, {"status": "error", "response": "x"}, {"response": "", "tool_calls": "[{}]"}, {})
    assert figures(store, project, words) == [("m", 0.0, 1, 2, 0.0)]


def test_the_most_inconsistent_prompt_comes_first_with_its_furthest_answers(
    store: Store, project: str, words: Words
) -> None:
    apart = "The bank raised interest rates on mortgages."
    near = ["Rain is water that falls from clouds.", "Rain is water which falls from the clouds."]
    insert(store, project, *({"prompt": "Steady?", "response": "Always the same words."} for _ in range(9)))
    insert(store, project, *({"prompt": "Near?", "response": answer} for answer in near))
    insert(store, project, *({"prompt": "Far?", "response": answer} for answer in (*near, apart)))

    told = consistency(store, Selection(project=project), words)

    assert [one["prompt"] for one in told["prompts"]] == ["Far?", "Near?"]
    assert apart in [example["response"] for example in told["prompts"][0]["examples"]]
    assert told["prompts"][0]["spread"] > 3 * told["prompts"][1]["spread"] > 0
    [model] = told["by_model"]
    assert model["spread"]["value"] == pytest.approx(sum(one["spread"] for one in told["prompts"]) / 3)
    assert (model["prompts"], model["measured"], told["cut"]) == (3, 3, False)


def test_the_spread_is_the_mean_over_pairs_of_calls(words: Words) -> None:
    one, other = "Rain is water.", "The bank raised interest rates."
    apart, _ = spread(words, [(1, one), (1, other)])
    assert apart is not None
    assert spread(words, [(3, one), (1, other)])[0] == pytest.approx(apart * 3 / 6)
    assert spread(words, [(5, one)])[0] == 0
    assert spread(words, [(1, one), (1, "雨は水です")])[0] is None
