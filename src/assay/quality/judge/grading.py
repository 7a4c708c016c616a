"""What a judge's answer says: a score from 1 to 5 with a reason, and how sure the judge was of it.

In: the first choice of a chat completion. Out: a Verdict, (score - 1) / 4. Where the endpoint tells the probabilities
of the tokens, the score is the expectation over 1 to 5 at the place where it was written (G-Eval, Liu et al. 2023,
arXiv 2303.16634), which is finer than the five steps; else it is the number as written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from assay.errors import AssayError
from assay.quality.scorer import Verdict

ANSWER_CHARS = 20_000
REASON_CHARS = 400
LEAST_MASS = 0.5
"""Where the five scores have less probability than this together, the probabilities say nothing of the score."""

_SCORE_WRITTEN = re.compile(r"score\W{1,6}?([1-5])(?![\d.])", re.IGNORECASE)
_SCORE_LINE = re.compile(
    r"^\W*(?:the |my |final |overall )*score\W{0,4}[:=]\W*([1-5])(?:\s*(?:/|out of)\s*5)?\W*$", re.I | re.M
)
_ONE_SCORE = re.compile(r"[^0-9A-Za-z]*([1-5])[^0-9A-Za-z]*")
_THOUGHTS = re.compile(r"\A.*</think>", re.DOTALL)


class Unreadable(AssayError):
    """An answer that holds no score; the message says what it holds instead."""


class Expectation(NamedTuple):
    """The mean score, 1..5, and the probability of the likeliest one."""

    score: float
    likeliest: float


def read_verdict(choice: Mapping[str, Any]) -> Verdict:
    """The verdict in a choice of a chat completion. Raises Unreadable."""
    message = _mapping(choice.get("message"))
    text = _THOUGHTS.sub("", text_of(message.get("content"))).strip()[-ANSWER_CHARS:]
    if not text:
        raise Unreadable(_why_empty(choice, message))
    score, reason = _stated(text, choice)
    expected = expectation(choice.get("logprobs"), score)
    value = ((expected.score if expected else score) - 1) / 4
    return Verdict(
        value=min(max(value, 0.0), 1.0),
        reason=reason,
        confidence=round(expected.likeliest, 4) if expected else None,
    )


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(text_of(_mapping(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


def _why_empty(choice: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    if declined := text_of(message.get("refusal")):
        return f"the judge declined: {_line(declined)}"
    if choice.get("finish_reason") == "length":
        return "the judge stopped at its limit before it answered: raise quality.judge.max_tokens"
    return f"the judge's answer is empty (finish reason {choice.get('finish_reason')!r:.40})"


def _stated(text: str, choice: Mapping[str, Any]) -> tuple[int, str]:
    """The one score that a text states, and its reason. Two different ones are none."""
    found = [(score, _line(text_of(item.get("reason")))) for item in _objects(text) if (score := _whole(item["score"]))]
    if not found:
        rest = _line(_SCORE_LINE.sub("", text))
        found = [(int(line[1]), rest) for line in _SCORE_LINE.finditer(text)]
    scores = {score for score, _ in found}
    if len(scores) == 1:
        score, reason = found[-1]
        return score, reason or "the judge gave no reason"
    if not scores and choice.get("finish_reason") == "length":
        raise Unreadable("the judge was cut off at its limit: raise quality.judge.max_tokens")
    what = "no score from 1 to 5" if not scores else f"several scores ({', '.join(map(str, sorted(scores)))})"
    raise Unreadable(f"the judge's answer has {what}: {_line(text, 120)!r}")


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that have a score, wherever they stand."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        end = at + 1
        try:
            item, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            item = None
        if isinstance(item, dict) and "score" in item:
            yield item
        at = text.find("{", end)


def _whole(score: Any) -> int | None:
    """A whole number 1..5, also as 4.0 and "4"; else None."""
    if isinstance(score, str) and re.fullmatch(r"\s*[1-5]\s*", score):
        return int(score)
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return int(score) if score in (1, 2, 3, 4, 5) else None


def expectation(logprobs: Any, score: int) -> Expectation | None:
    """The mean over 1..5 at the token where `score` was written last; None where the probabilities do not tell.

    `logprobs` is that of a choice: {"content": [{"token", "logprob", "top_logprobs": [{"token", "logprob"}]}]}. A token
    may hold more than the digit (" 4", "4}"), but no second digit.
    """
    content = _mapping(logprobs).get("content")
    tokens = [_mapping(token) for token in content] if isinstance(content, list) else []
    written = _token_of_score(tokens, score)
    if written is None:
        return None
    probabilities: dict[str, float] = {}
    for token in (written, *_alternatives(written)):
        text, probability = token.get("token"), _probability(token.get("logprob"))
        if isinstance(text, str) and probability is not None:
            probabilities.setdefault(text, probability)
    by_score: dict[int, float] = dict.fromkeys(range(1, 6), 0.0)
    for text, probability in probabilities.items():
        if digit := _ONE_SCORE.fullmatch(text):
            by_score[int(digit[1])] += probability
    mass = sum(by_score.values())
    if mass < LEAST_MASS:
        return None
    mean = sum(digit * probability for digit, probability in by_score.items()) / mass
    return Expectation(mean, min(max(by_score.values()), 1.0))


def _alternatives(token: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = token.get("top_logprobs")
    return [_mapping(item) for item in found] if isinstance(found, list) else []


def _token_of_score(tokens: list[Mapping[str, Any]], score: int) -> Mapping[str, Any] | None:
    """The token that holds the last written score, if that is `score`."""
    texts = [text if isinstance(text := token.get("token"), str) else "" for token in tokens]
    found = list(_SCORE_WRITTEN.finditer("".join(texts)))
    if not found or int(found[-1][1]) != score:
        return None
    place = found[-1].start(1)
    for token, text in zip(tokens, texts, strict=True):
        if place < len(text):
            return token if _ONE_SCORE.fullmatch(text) else None
        place -= len(text)
    return None


def _probability(logprob: Any) -> float | None:
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    return math.exp(min(logprob, 0.0))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _line(text: str, longest: int = REASON_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
