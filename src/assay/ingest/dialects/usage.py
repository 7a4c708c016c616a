"""Token counts of every sender in one sense: input with what was cached, output with reasoning.

None means not reported and 0 means reported zero, in every case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.ingest.dialects.fields import count, structured

_INPUT = ("prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens", "promptTokens", "promptTokenCount")
_OUTPUT = (
    *("completion_tokens", "output_tokens", "candidates_token_count", "outputTokens", "completionTokens"),
    "candidatesTokenCount",
)
_READ = (
    *("cache_read_input_tokens", "cached_content_token_count", "cachedContentTokenCount", "cacheReadInputTokens"),
    *("cachedInputTokens", "cache_read_tokens"),
)
_WRITE = ("cache_creation_input_tokens", "cacheWriteInputTokens", "cache_write_tokens", "cache_write_input_tokens")
_THOUGHTS = ("thoughts_token_count", "thoughtsTokenCount")
_IN_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details", "inputTokenDetails")
_OUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails")


def usage(
    input: int | None,
    output: int | None,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    *,
    without_cached: bool = False,
) -> dict[str, int | None]:
    """The token columns. `without_cached` says that `input` leaves out what was read from or written to a cache.

    More cached tokens than tokens say so too.
    """
    cached = (cache_read or 0) + (cache_write or 0)
    if input is not None and (without_cached or cached > input):
        input += cached
    return {
        "input_tokens": input,
        "output_tokens": output,
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning,
    }


def usage_of(value: Any) -> dict[str, int | None]:
    """The token columns of a usage object as a provider's API returns it (OpenAI, Anthropic, Gemini, Bedrock)."""
    data = structured(value)
    if not isinstance(data, dict):
        return {}
    details_in, details_out = _details(data, _IN_DETAILS), _details(data, _OUT_DETAILS)
    thoughts = count(data, *_THOUGHTS)
    output = count(data, *_OUTPUT)
    if thoughts is not None and output is not None:
        # Gemini counts thoughts beside its answer; who passes other models on in its form may count them within.
        total, into = count(data, "total_token_count", "totalTokenCount"), count(data, *_INPUT)
        output = output + thoughts if total is None or into is None else max(output, total - into)
    reasoning = count(details_out, "reasoning_tokens", "reasoningTokens", "reasoning", "thinking_tokens")
    return usage(
        count(data, *_INPUT),
        output,
        _either(
            count(data, *_READ),
            count(details_in, "cached_tokens", "cache_read_tokens", "cacheReadTokens", "cache_read"),
        ),
        _either(count(data, *_WRITE), count(details_in, "cache_creation_tokens", "cacheWriteTokens", "cache_creation")),
        _either(thoughts, _either(reasoning, count(data, "reasoning_tokens", "reasoningTokens"))),
        without_cached=_like_anthropic(data),
    )


def _like_anthropic(data: Mapping[str, Any]) -> bool:
    """Anthropic and Bedrock count cached tokens beside the input, in fields of these names."""
    anthropic = "input_tokens" in data and "cache_creation_input_tokens" in data and "prompt_tokens" not in data
    return anthropic or ("inputTokens" in data and "cacheReadInputTokens" in data)


def _details(data: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return next((data[name] for name in names if isinstance(data.get(name), dict)), {})


def _either(one: int | None, other: int | None) -> int | None:
    return other if one is None else one
