"""Does a model answer the same prompt the same way? Measured on prompts that were really asked more than once.

In: conversations that succeeded with a text. Two calls asked the same when their whole input (system prompt, history,
prompt, tools), model and parameters are the same but for case, white space and Unicode form; two answers are the same
by the same measure. How far differing answers lie apart is 1 - cosine of their local word vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean, variance
from typing import Any

import numpy as np

from assay.analytics.selection import Selection
from assay.quality.intervals import UNKNOWN, Interval, mean_interval, wilson
from assay.quality.text import RESPONSE_CHARS
from assay.quality.words import Words, unit
from assay.store.connect import Row, Store

MAX_CALLS = 20_000
"""So many of the newest conversations are compared."""
MAX_PROMPTS = 5_000
"""Of prompts asked more than once the most frequent are kept."""
MAX_MEASURED = 200
"""Over all models and temperatures so many prompts have the distance of their answers measured, taken by hash."""
MAX_ANSWERS = 8
"""Different answers to one prompt that are compared, the most frequent."""
SHOWN = 10

# Of ASCII, lower case is the folding; it costs a tenth of the general one.
_SAME = "arrayStringConcat(splitByWhitespace(if(isValidASCII({0}), lower({0}), normalizeUTF8NFKCCasefold({0}))))"
_ASKED = f"""
    sipHash128(model, ifNull(toString(temperature), ''), ifNull(toString(top_p), ''),
        ifNull(toString(max_tokens), ''), {_SAME.format("system")}, {_SAME.format("prompt")},
        replaceRegexpAll({_SAME.format("messages_in")}, '\\\\\\\\[nrt]', ''), tool_definitions)"""

_COMPARED = "kind = 'llm' AND status = 'ok' AND response != '' AND (prompt != '' OR messages_in != '')"

_PROMPTS = f"""
    SELECT asked AS key, any(of_model) AS model, any(of_temperature) AS temperature, sum(same) AS calls,
        count() AS answers, 1 - sum(same * (same - 1)) / (calls * (calls - 1)) AS differing,
        arraySlice(arrayReverseSort(groupArray((same, example))), 1, {MAX_ANSWERS}) AS examples
    FROM (
        SELECT hex({_ASKED}) AS asked, sipHash128({_SAME.format("response")}) AS answer, count() AS same,
            any(model) AS of_model, any(temperature) AS of_temperature, min(span_id) AS example
        FROM spans FINAL
        WHERE {{where}} AND {_COMPARED} AND started_at >= fromUnixTimestamp64Micro({{{{newest:Int64}}}})
        GROUP BY asked, answer
    )
    GROUP BY asked HAVING calls > 1
    ORDER BY calls DESC, key LIMIT {MAX_PROMPTS}"""


def consistency(store: Store, selection: Selection, words: Words) -> dict[str, Any]:
    """`by_model`: for each model and temperature (None where not reported) how consistent it is; `prompts`: the most
    inconsistent prompts, each with two differing answers; `cut`: whether only the newest conversations were compared.

    Of a model: `prompts` asked more than once and their `calls`; `inconsistent`, the share of prompts with any
    differing answer (Wilson's interval); `differing`, how likely two answers to the same prompt differ, and
    `spread`, how far two answers lie apart (0 the same, 1 nothing in common, None where no word is known), both means
    over prompts with 95% intervals. Calls that failed or answered with tool calls alone are left out.
    """
    where, parameters = selection.of_calls()
    newest, cut = _newest(store, where, parameters)
    prompts = store.query(_PROMPTS.format(where=where), {**parameters, "newest": newest})
    by_model = _grouped(prompts)
    measured = _measured(by_model.values(), prompts)
    texts = _texts(store, measured, newest)
    for prompt in measured:
        answers = [(count, texts[span_id]["response"]) for count, span_id in prompt["examples"] if span_id in texts]
        prompt["spread"], prompt["furthest"] = spread(words, answers)
    return {
        "cut": cut,
        "by_model": [_of_model(*key, own) for key, own in by_model.items()],
        "prompts": _most_inconsistent(measured, texts),
    }


def _newest(store: Store, where: str, parameters: dict[str, Any]) -> tuple[int, bool]:
    """The start of the oldest conversation that is compared (Unix microseconds), and whether there are older."""
    [row] = store.query(
        f"""
        SELECT toUnixTimestamp64Micro(min(started_at)) AS first, count() AS calls FROM (
            SELECT started_at FROM spans FINAL WHERE {where} AND kind = 'llm' AND status = 'ok'
            ORDER BY started_at DESC LIMIT {MAX_CALLS}
        )
        """,
        parameters,
    )
    return row["first"], row["calls"] == MAX_CALLS


def spread(words: Words, answers: list[tuple[int, str]]) -> tuple[float | None, tuple[int, int]]:
    """Mean distance of two answers, 0..1, and the places of the two furthest apart.

    `answers` are different texts, each with how often it was given. None where no word of an answer is known.
    """
    if len(answers) < 2:
        return 0.0, (0, 0)
    counts = np.array([count for count, _ in answers], float)
    vectors = unit(np.stack([_vector(words, text) for _, text in answers]))
    apart = np.clip(1 - vectors @ vectors.T, 0, 1).astype(float)
    np.fill_diagonal(apart, 0)
    one, other = sorted(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))
    if not np.any(vectors, axis=1).all():
        return None, (0, 1)
    calls = counts.sum()
    return float(counts @ apart @ counts / (calls * (calls - 1))), (one, other) if one != other else (0, 1)


def _vector(words: Words, text: str) -> Any:
    return np.add.reduce(words.sentence_vectors(words.read(text, RESPONSE_CHARS)))


def _grouped(prompts: list[Row]) -> dict[tuple[str, float | None], list[Row]]:
    """Models with the most repeated prompts first."""
    groups: dict[tuple[str, float | None], list[Row]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt["model"], prompt["temperature"]].append(prompt)
    order = sorted(groups, key=lambda key: (-len(groups[key]), key[0], key[1] is not None, key[1] or 0))
    return {key: groups[key] for key in order}


def _measured(groups: Iterable[list[Row]], prompts: list[Row]) -> list[Row]:
    """Prompts whose answers are compared by meaning: of each group the first by hash, and the most inconsistent."""
    groups = list(groups)
    share = max(MAX_MEASURED // max(len(groups), 1), 20)
    sample = [prompt for group in groups for prompt in sorted(group, key=lambda row: row["key"])[:share]]
    for prompt in sample[: 2 * MAX_MEASURED]:
        prompt["sampled"] = True
    worst = sorted(prompts, key=lambda row: (-row["differing"], -row["calls"], row["key"]))[: 5 * SHOWN]
    return list({prompt["key"]: prompt for prompt in sample[: 2 * MAX_MEASURED] + worst}.values())


def _texts(store: Store, prompts: list[Row], newest: int) -> dict[str, Row]:
    ids = [span_id for prompt in prompts for _, span_id in prompt["examples"]]
    rows = store.query(
        f"""
        SELECT span_id, substringUTF8(prompt, 1, {RESPONSE_CHARS}) AS prompt,
            substringUTF8(response, 1, {RESPONSE_CHARS}) AS response
        FROM spans WHERE span_id IN {{ids:Array(String)}} AND started_at >= fromUnixTimestamp64Micro({{newest:Int64}})
        ORDER BY version DESC LIMIT 1 BY span_id
        """,
        {"ids": ids, "newest": newest},
    )
    return {row["span_id"]: row for row in rows}


def _of_model(model: str, temperature: float | None, prompts: list[Row]) -> Row:
    varied = sum(prompt["answers"] > 1 for prompt in prompts)
    apart = [prompt["spread"] for prompt in prompts if prompt.get("sampled") and prompt["spread"] is not None]
    return {
        "model": model,
        "temperature": temperature,
        "prompts": len(prompts),
        "calls": sum(prompt["calls"] for prompt in prompts),
        "inconsistent": _figure(varied / len(prompts), wilson(varied / len(prompts), len(prompts))),
        "differing": _mean([prompt["differing"] for prompt in prompts]),
        "spread": _mean(apart) if apart else None,
        "measured": len(apart),
    }


def _mean(values: list[float]) -> Row:
    mean = fmean(values)
    error = variance(values, mean) / len(values) if len(values) > 1 else 0.0
    return _figure(mean, mean_interval(mean, error, len(values) - 1) if len(values) > 1 else UNKNOWN)


def _figure(value: float, interval: Interval) -> Row:
    return {"value": value, "low": interval.low, "high": interval.high}


def _most_inconsistent(measured: list[Row], texts: dict[str, Row]) -> list[Row]:
    varied = [prompt for prompt in measured if prompt["answers"] > 1]
    varied.sort(key=lambda row: (-(row["spread"] or 0), -row["differing"], -row["calls"], row["key"]))
    return [_shown(prompt, texts) for prompt in varied[:SHOWN]]


def _shown(prompt: Row, texts: dict[str, Row]) -> Row:
    spans = [prompt["examples"][place][1] for place in prompt["furthest"]]
    figures = {name: prompt[name] for name in ("model", "temperature", "calls", "answers", "differing", "spread")}
    examples = [{"span_id": span, "response": texts.get(span, {}).get("response", "")} for span in spans]
    return {"prompt": texts.get(spans[0], {}).get("prompt", ""), **figures, "examples": examples}
