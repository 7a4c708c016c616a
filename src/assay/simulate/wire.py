"""The JSON that OpenAI's API answers with: completions, stream chunks, embeddings, models.

In: choices and counts. Out: plain dictionaries in the shapes of the openai client's types.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.simulate.answers import Choice
from assay.simulate.models import Model
from assay.simulate.texts import words

Json = dict[str, Any]
Vector = NDArray[np.float32]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of one answer share."""

    id: str
    created: int
    model: str
    fingerprint: str = "fp_simulated"


def usage(choices: Sequence[Choice], prompt_tokens: int, cached_tokens: int) -> Json:
    """The usage object; cached and reasoning tokens are parts of input and output, never added to them."""
    completion_tokens = sum(choice.tokens for choice in choices)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(choice.reasoning_tokens for choice in choices),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(envelope: Envelope, choices: Sequence[Choice], counts: Json) -> Json:
    """A whole chat completion."""
    return {
        "id": envelope.id,
        "object": "chat.completion",
        "created": envelope.created,
        "model": envelope.model,
        "choices": [_choice(i, choice, envelope.id) for i, choice in enumerate(choices)],
        "usage": counts,
        "service_tier": "default",
        "system_fingerprint": envelope.fingerprint,
    }


class Delta(msgspec.Struct, frozen=True):
    """One piece of a stream: the tokens that it took to make, and its chunk."""

    tokens: int
    chunk: Json

    @property
    def encoded(self) -> bytes:
        """The piece as a server-sent event, named by its type where it has one."""
        name = f"event: {self.chunk['type']}\n" if "type" in self.chunk else ""
        return name.encode() + b"data: " + msgspec.json.encode(self.chunk) + b"\n\n"


def deltas(envelope: Envelope, choices: Sequence[Choice], counts: Json | None, rng: random.Random) -> Iterator[Delta]:
    """The chunks of a stream in order, one to five tokens each; `counts` come last, in their own chunk."""
    for i, choice in enumerate(choices):
        opening: Json = {"role": "assistant", "content": None if choice.tool_call else "", "refusal": None}
        if choice.tool_call:
            function = {"name": choice.tool_call.name, "arguments": ""}
            call = {"index": 0, "id": _call_id(envelope.id, i), "type": "function", "function": function}
            opening["tool_calls"] = [call]
        yield Delta(0, _chunk(envelope, i, opening, None, counts))
        for piece, tokens in grouped(choice.parts, rng):
            yield Delta(tokens, _chunk(envelope, i, _piece(choice, piece), None, counts))
        yield Delta(0, _chunk(envelope, i, {}, choice.finish_reason, counts))
    if counts is not None:
        yield Delta(0, {**_chunk(envelope, 0, {}, None, counts), "choices": [], "usage": counts})


def grouped(parts: Sequence[str], rng: random.Random) -> Iterator[tuple[str, int]]:
    """A stream's pieces with the tokens of each: one to five."""
    at = 0
    while at < len(parts):
        group = parts[at : at + rng.randint(1, 5)]
        yield "".join(group), len(group)
        at += len(group)


def embeddings(model: Model, vectors: Sequence[Vector], tokens: int, in_base64: bool) -> Json:
    """An embedding list, as base64 of little-endian float32 or as numbers."""
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": i,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if in_base64
                else vector.tolist(),
            }
            for i, vector in enumerate(vectors)
        ],
        "model": model.dated,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def embedding(text: str, dimensions: int) -> Vector:
    """A unit vector of the text, the same in every run; texts that share words are near each other."""
    total = np.sum([_word_vector(word, dimensions) for word in sorted(words(text)) or [text]], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def model_card(model: Model, name: str) -> Json:
    """An entry of the model list."""
    return {"id": name, "object": "model", "created": 1_721_172_741, "owned_by": model.owner}


def _choice(index: int, choice: Choice, completion_id: str) -> Json:
    message: Json = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    if choice.tool_call:
        function = {"name": choice.tool_call.name, "arguments": choice.tool_call.arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": _call_id(completion_id, index), "type": "function", "function": function}]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _call_id(completion_id: str, index: int) -> str:
    return f"call_{completion_id.removeprefix('chatcmpl-')}{index}"


def _chunk(envelope: Envelope, index: int, delta: Json, finish_reason: str | None, counts: Json | None) -> Json:
    chunk: Json = {
        "id": envelope.id,
        "object": "chat.completion.chunk",
        "created": envelope.created,
        "model": envelope.model,
        "service_tier": "default",
        "system_fingerprint": envelope.fingerprint,
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return chunk if counts is None else {**chunk, "usage": None}


def _piece(choice: Choice, text: str) -> Json:
    if choice.tool_call:
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    return {"content": text}


@lru_cache(maxsize=4096)
def _word_vector(word: str, dimensions: int) -> Vector:
    seed = int.from_bytes(word.encode("utf-8", "surrogatepass")[:64], "big")
    return np.random.default_rng(seed).standard_normal(dimensions, dtype=np.float32)
