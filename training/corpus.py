"""The texts that shipped weights are made from: rows of public sets under MIT, Apache-2.0 or CC BY.

In: a folder of .jsonl files (one object a line: split, prompt, context, response, target, label), as
docs/quality.md lists them. Out: rows, and texts without their labels. Sets under other terms
(ToxicChat, ETHOS, WikiQA, FED, GRADE, SummEval, DialSummEval, Newsroom, ROSCOE, WiCE, BEGIN-TC, QAGS,
CLIFF, medical-safety) are never read here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from assay.quality.text import clean, sentences

Row = dict[str, Any]


def rows(data: Path, name: str) -> list[Row]:
    """The train and dev rows of one file, without its test rows."""
    lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line) for line in lines]
    return [row for row in kept if row["split"] in ("train", "dev")]


def field(row: Row, name: str) -> str:
    """A text field of a row, "" where the file leaves it out."""
    return row.get(name) or ""


def _leading(text: str, count: int) -> list[str]:
    return sentences(text)[:count]


def _exchange(row: Row) -> list[str]:
    return [field(row, "prompt"), field(row, "response"), *_leading(field(row, "response"), 6)]


def _evidence(row: Row) -> list[str]:
    return [field(row, "prompt"), field(row, "response"), *_leading(field(row, "context"), 5)]


def _dialogue(row: Row) -> list[str]:
    return [
        *field(row, "prompt").split("\n")[-4:],
        field(row, "response"),
        *_leading(field(row, "context"), 3),
    ]


SOURCES: tuple[tuple[str, Callable[[Row], list[str]], int], ...] = (
    ("groundedness-halueval-general-noctx", _exchange, 16_000),
    ("groundedness-haluquestqa-factuality-noctx", _exchange, 3_500),
    ("relevance-llmbar-pairs", _exchange, 3_000),
    ("relevance-xstest-refusals", _exchange, 2_500),
    ("groundedness-truthfulqa-noctx", _exchange, 3_500),
    ("groundedness-factcheckgpt-stance", _evidence, 4_000),
    ("groundedness-begin-wow", _evidence, 1_500),
    ("groundedness-begin-cmu", _evidence, 1_000),
    ("groundedness-faithdial-audit", _evidence, 2_000),
    ("groundedness-halueval-qa", _evidence, 2_000),
    ("groundedness-usr-topicalchat-uses-knowledge", _dialogue, 1_500),
    ("groundedness-usr-personachat-uses-knowledge", _dialogue, 1_500),
    ("toxicity-hh-harmless-pairs", _dialogue, 4_000),
    ("toxicity-diasafety", _dialogue, 4_000),
    ("toxicity-dices-990", _dialogue, 700),
    ("toxicity-openai-moderation", lambda row: _leading(field(row, "prompt"), 3), 1_500),
)
"""File, what is taken of a row, and at most how many texts: no source may outweigh the rest."""

TOXICITY = (
    "toxicity-openai-moderation",
    "toxicity-hatecheck",
    "toxicity-surge-toxicity",
    "toxicity-dices-990",
    "toxicity-dices-350-expert",
    "toxicity-diasafety",
    "toxicity-davidson",
    "toxicity-wikipedia-talk",
    "toxicity-wikipedia-cat",
)
"""The labelled files that the toxicity model is trained on."""


def texts(data: Path, seed: int = 20261123, without: tuple[str, ...] = ()) -> list[str]:
    """Distinct unlabelled texts of 3 to 90 words, at most 600 characters each."""
    generator = random.Random(seed)
    chosen: list[str] = []
    for name, parts, most in (source for source in SOURCES if source[0] not in without):
        found = _usable(part for row in rows(data, name) for part in parts(row))
        generator.shuffle(found)
        chosen.extend(found[:most])
    return list(dict.fromkeys(chosen))


def _usable(parts: Iterable[str]) -> list[str]:
    cut = (clean(part, 600) for part in parts)
    return list(dict.fromkeys(part for part in cut if 3 <= len(part.split()) <= 90))
