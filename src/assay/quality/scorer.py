"""What a scorer is: it sees one conversation and answers with one verdict.

In: a Conversation. Out: a Verdict per metric; a scorer that raises or answers nonsense yields a null
verdict with the reason, and the others go on. A new scorer is any object with the four members of
Scorer; `sets.py` names the sets.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

SHARED = 32
"""So many conversations are scored by one scorer before the next one gets them: each text is cut once for all."""

log = logging.getLogger(__name__)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange as a scorer sees it, all plain text, "" or () where there is none.

    `prompt` is the last user text, `response` the assistant's answer, `context` the retrieved documents
    and tool results, `history` the earlier messages of the session in order, `finish_reason` what the
    provider reported ("stop", "length", ...).
    """

    prompt: str = ""
    response: str = ""
    system: str = ""
    context: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    finish_reason: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A score with what a person needs to check it.

    `value` is 0..1, or None where the metric cannot be assessed; `reason` is one line; `label` names a
    case of its own ("refusal", "code", "failed", ...); `confidence` is 0..1, None where unknown.
    """

    value: float | None
    reason: str
    label: str = ""
    confidence: float | None = None


class Scorer(Protocol):
    """Scores one metric. Implementations keep no state between conversations that changes a verdict."""

    @property
    def name(self) -> str:
        """The metric: "relevance", "coherence", "toxicity", "groundedness", ..."""
        ...

    @property
    def scorer(self) -> str:
        """Who judges: "lexical", "local", ..."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same conversation could get another value: a hash of code and weights."""
        ...

    def score(self, conversation: Conversation) -> Verdict:
        """The verdict on one conversation; may raise, `assess` keeps the others going.

        Where many at once are cheaper, a scorer also has `score_all`: a list of conversations in, as many
        verdicts out, the same as `score` gives for each.
        """
        ...


def unknown(reason: str, label: str = "") -> Verdict:
    """A null verdict: the metric cannot be assessed, and why."""
    return Verdict(value=None, reason=reason, label=label)


def assess(scorers: Iterable[Scorer], conversation: Conversation) -> dict[str, Verdict]:
    """The verdict of every scorer by metric name. Never raises on behalf of a scorer."""
    return {scorer.name: guarded(scorer, conversation) for scorer in scorers}


def assess_all(scorers: Sequence[Scorer], conversations: Sequence[Conversation]) -> list[dict[str, Verdict]]:
    """`assess` of each conversation, faster: a scorer that has `score_all` gets many at once. Never raises.

    The verdicts are those of `assess` but for rounding (1e-6).
    """
    found: list[dict[str, Verdict]] = []
    for start in range(0, len(conversations), SHARED):
        part = conversations[start : start + SHARED]
        verdicts = [guarded_all(scorer, part) for scorer in scorers]
        names = [scorer.name for scorer in scorers]
        found += [dict(zip(names, of_one, strict=True)) for of_one in zip(*verdicts, strict=True)]
    return found if scorers else [{} for _ in conversations]


def guarded_all(scorer: Scorer, conversations: Sequence[Conversation]) -> list[Verdict]:
    """The verdicts of one scorer, by its `score_all` where it has one; where that fails, each is scored alone."""
    together = getattr(scorer, "score_all", None)
    if together is not None:
        try:
            return [checked(verdict) for _, verdict in zip(conversations, together(conversations), strict=True)]
        except Exception as error:
            log.warning("%s cannot score many at once, so each is scored alone: %r", scorer.name, error)
    return [guarded(scorer, conversation) for conversation in conversations]


def guarded(scorer: Scorer, conversation: Conversation) -> Verdict:
    """The verdict of one scorer; where it raises or answers nonsense, a null one labelled "failed"."""
    try:
        return checked(scorer.score(conversation))
    except Exception as error:
        return unknown(f"failed: {type(error).__name__}: {error}", "failed")


def checked(verdict: Verdict) -> Verdict:
    """The verdict itself, or a null one where its value is not a number within 0..1."""
    if not isinstance(verdict, Verdict):  # pyright: ignore[reportUnnecessaryIsInstance] scorers are people's code
        return unknown(f"failed: answered {verdict!r:.80} instead of a Verdict", "failed")
    if verdict.value is not None and not _in_unit_range(verdict.value):
        return unknown(f"failed: value {verdict.value!r:.80} is not within 0..1", "failed")
    if verdict.confidence is not None and not _in_unit_range(verdict.confidence):
        return msgspec.structs.replace(verdict, confidence=None)
    return verdict


def _in_unit_range(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and 0 <= value <= 1


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), safe for any finite value."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))


def version_of(*parts: bytes | str) -> str:
    """A short hash of constants and weights, for Scorer.version."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:12]
