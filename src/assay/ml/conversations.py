"""Have an LLM's conversations moved? What is asked, what is answered, how long, in which language, and every score.

In: two selections of calls. Prompts are compared by the vectors of their templates (table `embeddings`), responses by
vectors made of a sample of them here. A classifier that tells unseen calls of the two apart says that what is asked or
answered has changed; prompt groups say which kinds of question grew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assay.analytics.differences import Estimate, bounded_mean, difference, sums
from assay.analytics.means import GROUP
from assay.analytics.selection import Selection
from assay.analytics.together import both
from assay.ml.distances import holm
from assay.ml.domain import vectors_told_apart
from assay.ml.drift import ALPHA, Column, Drifted, judge, measured
from assay.quality.kind import is_foreign
from assay.quality.text import words as words_of
from assay.store.connect import Row, Store
from assay.store.prompt_groups import OTHER, groups_of
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS

MOST_CALLS = 5000
"""Of each side so many calls' lengths, scores and vectors are read, chosen by the hash of their ids."""
MOST_TEXTS = 1000
"""Of each side so many texts are read, for their language and the vectors of responses."""
TEXT_CHARS = 2000
SMALLEST_GROWTH = 0.02
"""Of all calls: a kind of question that moved by less is not called grown or shrunk."""
_Z = 1.959964

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_SCRIPTS = {
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Arabic": "\u0600-\u06ff",
    "Hebrew": "\u0590-\u05ff",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "Kana": "\u3040-\u30ff",
    "Hangul": "\uac00-\ud7af",
    "Han": "\u4e00-\u9fff",
}
_OF_SCRIPT = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}


@cache
def shipped_embedding() -> Embed:
    """Vectors of texts as those of prompts are made (quality/groups); reads the words when it is first asked for."""
    from assay.quality.groups.embedding import load_embedder
    from assay.quality.groups.mask import template

    embedder = load_embedder()
    return lambda texts: embedder.embed([template(text) for text in texts])


class _Texts(NamedTuple):
    prompts: list[str]
    responses: list[str]
    sessions: NDArray[Any]


def conversation_drift(store: Store, before: Selection, after: Selection, embed: Embed) -> dict[str, Any]:
    """What moved from the calls `before` to those `after`, with the number of calls of both.

    `prompts` and `responses`: `auroc` of a classifier between the two (0.5: nothing tells them apart; with its
    interval, sessions taken as one observation each), None of too few. `groups`: each kind of question's share before
    and after, the difference with its interval, and `moved` (grew, shrank or ""), corrected for all groups (Holm).
    `features`: tokens in and out, language of prompts and responses, and every score, each as a feature's drift.
    """
    calls = both(lambda: _count(store, before), lambda: _count(store, after))
    columns = _columns(store, before, after, calls)
    texts = both(lambda: _texts(store, before, calls[0]), lambda: _texts(store, after, calls[1]))
    columns += [
        Column(f"language of {name}", "category", *(_languages(side._asdict()[name]) for side in texts))
        for name in ("prompts", "responses")
    ]
    judged = judge([measured(column) for column in columns])
    return {
        "before": {"since": before.since, "until": before.until, "calls": calls[0]},
        "after": {"since": after.since, "until": after.until, "calls": calls[1]},
        "alpha": ALPHA,
        "correction": "Holm",
        "prompts": _prompts(store, before, after, calls),
        "responses": _responses(texts, embed),
        "groups": _groups(store, before, after),
        "drifted": sum(one.drifted for one in judged),
        "features": sorted(judged, key=_most_drifted),
    }


def _most_drifted(one: Drifted) -> tuple[bool, float, str]:
    return not one.drifted, -(one.psi or 0.0), one.feature


def language(text: str) -> str:
    """English, another language in Latin letters, or the script most letters are of; "" without any letter.

    Rules as for the scorers (quality/kind.py): telling Spanish from French would need a model.
    """
    counts = {name: len(pattern.findall(text)) for name, pattern in _OF_SCRIPT.items()} if not text.isascii() else {}
    letters = sum(map(str.isalpha, text))
    if not letters:
        return ""
    script = max(counts, key=counts.__getitem__, default="")
    if script and counts[script] > 0.3 * letters:
        return "Japanese" if script == "Kana" or (script == "Han" and counts["Kana"]) else script
    return "another in Latin letters" if is_foreign(text, [word.lower() for word in words_of(text)]) else "English"


def _languages(texts: list[str]) -> NDArray[np.object_]:
    return np.array([language(text) for text in texts if text], object)


def _count(store: Store, selection: Selection) -> int:
    where, parameters = selection.of_calls()
    [row] = store.query(f"SELECT count() AS n FROM spans FINAL WHERE {where} AND kind = 'llm'", parameters)
    return int(row["n"])


def _sampled(column: str, calls: int, most: int) -> tuple[str, dict[str, Any]]:
    """Further condition and parameters that keep about `most` of so many calls."""
    if calls <= most:
        return "", {}
    return f" AND cityHash64({column}) < {{below:UInt64}}", {"below": int(most / calls * (2**64 - 1))}


def _columns(store: Store, before: Selection, after: Selection, calls: tuple[int, int]) -> list[Column]:
    sides = both(lambda: _numbers(store, before, calls[0]), lambda: _numbers(store, after, calls[1]))
    names = sorted({*sides[0], *sides[1]}, key=lambda name: (not name.endswith("tokens"), name))
    nothing = np.zeros(0)
    return [Column(name, "number", *(side.get(name, nothing) for side in sides)) for name in names]


def _numbers(store: Store, selection: Selection, calls: int) -> dict[str, Floats]:
    """Tokens of a sample of the calls, and each score's values, of the source that most have it of."""
    where, parameters = selection.of_calls()
    sampled, more = _sampled("span_id", calls, MOST_CALLS)
    of_calls = store.arrow(
        f"SELECT toFloat64({INPUT_TOKENS}) AS prompt, toFloat64({OUTPUT_TOKENS}) AS response"
        f" FROM spans FINAL WHERE {where} AND kind = 'llm'{sampled}",
        parameters | more,
    )
    found = {
        f"{name} tokens": _known(of_calls.column(name).to_numpy().astype(float)) for name in ("prompt", "response")
    }
    where, parameters = selection.of_scores()
    sampled, more = _sampled("target", calls, MOST_CALLS)
    scores = store.arrow(
        f"SELECT name, source, value FROM scores FINAL WHERE {where} AND value IS NOT NULL{sampled}", parameters | more
    )
    names, sources = (np.array(scores.column(name).to_pylist(), object) for name in ("name", "source"))
    values = scores.column("value").to_numpy().astype(float)
    for name in sorted(set(names)):
        own, counts = np.unique(sources[names == name].astype(str), return_counts=True)
        found[str(name)] = values[(names == name) & (sources == own[np.argmax(counts)])]
    return found


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _prompts(store: Store, before: Selection, after: Selection, calls: tuple[int, int]) -> Row | None:
    sides = both(lambda: _vectors(store, before, calls[0]), lambda: _vectors(store, after, calls[1]))
    (one, of_one), (other, of_other) = sides
    area = vectors_told_apart(one, other, of_one, of_other)
    return None if area is None else {"auroc": area.told()}


def _vectors(store: Store, selection: Selection, calls: int) -> tuple[Floats, NDArray[Any]]:
    where, parameters = selection.of_embeddings()
    sampled, more = _sampled("span_id", calls, MOST_CALLS)
    table = store.arrow(
        f"SELECT vector::Array(Float32) AS vector, if(session_id = '', span_id, session_id) AS session"
        f" FROM embeddings FINAL WHERE {where}{sampled} ORDER BY span_id",
        parameters | more,
    ).combine_chunks()
    if not table.num_rows:
        return np.zeros((0, 1)), np.zeros(0, object)
    flat: Any = table.column("vector").combine_chunks()
    vectors = flat.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1).astype(float)
    return vectors, np.array(table.column("session").to_pylist(), object)


def _texts(store: Store, selection: Selection, calls: int) -> _Texts:
    where, parameters = selection.of_calls()
    sampled, more = _sampled("span_id", calls, MOST_TEXTS)
    rows = store.query(
        f"SELECT substringUTF8(prompt, 1, {TEXT_CHARS}) AS prompt,"
        f" substringUTF8(response, 1, {TEXT_CHARS}) AS response, if(session_id = '', span_id, session_id) AS session"
        f" FROM spans FINAL WHERE {where} AND kind = 'llm'{sampled} ORDER BY span_id",
        parameters | more,
    )
    return _Texts(
        [row["prompt"] for row in rows],
        [row["response"] for row in rows],
        np.array([row["session"] for row in rows], object),
    )


def _responses(texts: tuple[_Texts, _Texts], embed: Embed) -> Row | None:
    sides = [
        (embed([text for text in side.responses if text]), [bool(text) for text in side.responses]) for side in texts
    ]
    sessions = [side.sessions[said] for side, (_, said) in zip(texts, sides, strict=True)]
    area = vectors_told_apart(sides[0][0].astype(float), sides[1][0].astype(float), *sessions)
    return None if area is None else {"auroc": area.told()}


def _groups(store: Store, before: Selection, after: Selection) -> list[Row]:
    known = {(group.project, group.id): group.name for group in groups_of(store, after.project)}
    sides = both(lambda: _shares(store, before), lambda: _shares(store, after))
    found = [_growth(key, known, sides) for key in sorted({*sides[0], *sides[1]})]
    known_rows = [row for row in found if row["low"] is not None]
    for row, corrected in zip(known_rows, holm([_chance(row) for row in known_rows]), strict=True):
        if corrected < ALPHA and abs(row["difference"]) >= SMALLEST_GROWTH:
            row["moved"] = "grew" if row["difference"] > 0 else "shrank"
    return sorted(found, key=lambda row: (not row["moved"], -abs(row["difference"] or 0.0), row["name"]))


def _shares(store: Store, selection: Selection) -> dict[tuple[str, str], Estimate]:
    """The share of each prompt group of all calls, from random groups of sessions (analytics/differences.py)."""
    where, parameters = selection.of_embeddings()
    rows = store.query(
        f"SELECT project, prompt_group AS id, {GROUP} AS sample, count() AS calls FROM embeddings FINAL"
        f" WHERE {where} GROUP BY project, id, sample",
        parameters,
    )
    totals, own = dict[int, float](), dict[tuple[str, str], dict[int, float]]()
    for row in rows:
        totals[row["sample"]] = totals.get(row["sample"], 0.0) + row["calls"]
        own.setdefault((row["project"], row["id"] or OTHER), {})[row["sample"]] = row["calls"]
    samples = list(totals)
    counts = [totals[sample] for sample in samples]
    return {key: bounded_mean(sums(counts, [of.get(sample, 0.0) for sample in samples])) for key, of in own.items()}


def _growth(
    key: tuple[str, str],
    known: dict[tuple[str, str], str],
    sides: tuple[dict[tuple[str, str], Estimate], dict[tuple[str, str], Estimate]],
) -> Row:
    """A group that one side does not have has a share of 0 there, of as many calls as that side has."""
    one, other = (side.get(key) or _none_of(side) for side in sides)
    low, high = difference(one, other)
    return {
        "project": key[0],
        "id": key[1],
        "name": "all other prompts" if key[1] == OTHER else known.get(key, key[1]),
        "before": one.value,
        "after": other.value,
        "difference": None if one.value is None or other.value is None else other.value - one.value,
        "low": low,
        "high": high,
        "moved": "",
    }


def _none_of(side: dict[tuple[str, str], Estimate]) -> Estimate:
    calls = next((estimate.n for estimate in side.values()), 0)
    return bounded_mean(sums([calls / 64] * 64, [0.0] * 64)) if calls else Estimate(0, None)


def _chance(row: Row) -> float:
    """How likely so large a difference is where nothing changed, by the end of its interval nearer to 0."""
    apart = row["difference"]
    half = apart - row["low"] if apart > 0 else row["high"] - apart
    return math.erfc(abs(apart) / max(half / _Z, 1e-12) / math.sqrt(2)) if apart else 1.0
