"""Count the tokens of a call whose usage nobody reported: a stream without it, a local model.

Counts with OpenAI's own vocabularies, offline: exact for its models' plain texts, an estimate for every other
model, and for what wraps messages and tools. The tables take 0.5 s and 80 MB, so they are loaded when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from assay.ingest.dialects.fields import as_text, objects, structured
from assay.ingest.dialects.messages import messages_from_texts
from assay.records import Span

COUNTED_CHARACTERS = 50_000
"""Of a longer text this much is counted, and the rest reckoned by it; the library takes no more at once."""

AROUND_A_MESSAGE = 3
BEFORE_THE_ANSWER = 3
"""Tokens that OpenAI's chat format adds (its cookbook, "How to count tokens with tiktoken")."""

_OLDER_VOCABULARY = re.compile(r"(gpt-4(?!o|\.|-o)|gpt-3|gpt-35|text-embedding|davinci|babbage)")


class Estimate(NamedTuple):
    """Tokens in and out; None where there is no text to count."""

    input: int | None
    output: int | None


def estimate(span: Span) -> Estimate:
    """The tokens of a call by its texts. Pictures, sounds and files are not counted."""
    older = _OLDER_VOCABULARY.match(span.response_model or span.request_model)
    vocabulary = _vocabulary("cl100k_base" if older else "o200k_base")
    asked = objects(span.messages_in) or messages_from_texts(span.system, span.prompt)
    texts = [*(text for message in asked for text in _texts(message)), *filter(None, [span.tool_definitions])]
    if span.kind == "embedding":
        return Estimate(sum(_count(vocabulary, text) for text in texts) if texts else None, None)
    answers = objects(span.messages_out)
    said = [text for answer in answers for text in _texts(answer)] or [*filter(None, (span.response, span.tool_calls))]
    wrapping = AROUND_A_MESSAGE * len(asked) + BEFORE_THE_ANSWER
    return Estimate(
        wrapping + sum(_count(vocabulary, text) for text in texts) if texts else None,
        sum(_count(vocabulary, text) for text in said) if said else None,
    )


def _texts(message: dict[str, Any]) -> Iterator[str]:
    for part in objects(message.get("parts")):
        for name in ("content", "name", "arguments", "response"):
            if part.get("type") not in ("blob", "uri", "file") and part.get(name):
                yield as_text(structured(part[name]))


def _count(vocabulary: Any, text: str) -> int:
    counted = text[:COUNTED_CHARACTERS]
    return round(len(vocabulary.encode_ordinary(counted)) * len(text) / len(counted)) if text else 0


@lru_cache(maxsize=2)
def _vocabulary(name: str) -> Any:
    import bpe_openai

    return bpe_openai.get_encoding(name)
