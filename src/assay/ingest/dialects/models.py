"""Names of providers, models and finish reasons, as the GenAI conventions spell them."""

from __future__ import annotations

import re

PROVIDERS = {
    "anthropic.messages": "anthropic",
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google.vertex": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "mistral-ai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "openai_responses": "openai",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "text-completion-openai": "openai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
    "x-ai": "x_ai",
}
"""Other names of providers. Any name that is not here is taken as it is, in lower case."""

KNOWN = {
    *PROVIDERS.values(),
    *("anthropic", "openai", "deepseek", "groq", "perplexity", "together_ai", "openrouter", "ollama", "huggingface"),
}

NO_PROVIDERS = {
    "strands-agents",
    "langchain",
    "langgraph",
    "pydantic-ai",
    "pydantic_ai",
    "litellm",
    "_other",
    "unknown",
}
"""Frameworks that name themselves where the provider belongs."""

_BY_MODEL = (
    (
        r"(gpt|chatgpt|text-embedding|davinci|babbage|dall-e|whisper|tts|omni-moderation|codex|o[1-9])([-.\d]|$)",
        "openai",
    ),
    (r"claude", "anthropic"),
    (r"gemini|text-bison|chat-bison|gemini-embedding|imagen", "gcp.gemini"),
    (r"mistral-(large|medium|small|embed|tiny)|codestral|magistral|ministral|pixtral", "mistral_ai"),
    (r"command(-|$)|embed-(english|multilingual|v)|rerank-", "cohere"),
    (r"deepseek-(chat|reasoner)", "deepseek"),
    (r"grok", "x_ai"),
    (r"sonar", "perplexity"),
    (r"kimi|moonshot", "moonshot_ai"),
)

FINISH_REASONS = {
    **dict.fromkeys(
        ("stop", "end_turn", "stop_sequence", "complete", "completed", "eos", "eos_token", "finished"), "stop"
    ),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "incomplete", "model_length"), "length"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call", "tool_execution"), "tool_calls"),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "refusal", "guardrail_intervened"), "content_filter"
    ),
    **dict.fromkeys(("error", "failed"), "error"),
}


def provider_named(name: str) -> str:
    """The provider as the conventions spell it; "" for a framework's name. `openai.chat` is openai."""
    plain = name.strip().lower()
    if plain in PROVIDERS or plain in KNOWN:
        return PROVIDERS.get(plain, plain)
    head = plain.partition(".")[0]
    if head in PROVIDERS or head in KNOWN:
        return PROVIDERS.get(head, head)
    return "" if plain in NO_PROVIDERS else plain


def provider_of_model(model: str) -> str:
    """The provider that offers models of this name under its own, or ""."""
    plain = model.rpartition("/")[2].lower()
    return next((provider for pattern, provider in _BY_MODEL if re.match(pattern, plain)), "")


def split_model(model: str) -> tuple[str, str]:
    """("openai", "gpt-4o") for "openai/gpt-4o", ("", model) where there is no provider's name in front."""
    head, slash, rest = model.partition("/")
    if slash and rest and (head.lower() in KNOWN or head.lower() in PROVIDERS):
        return provider_named(head), rest
    return "", model


INVENTED_ID = re.compile(r"chatcmpl-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
FOREIGN = ("anthropic", "aws.bedrock", "cohere", "gcp.gemini", "gcp.vertex_ai")
"""Providers that never give such ids: LiteLLM makes them for answers whose own id it does not pass on."""


def known_response_id(response_id: str, provider: str) -> str:
    """The id, "" where it is not the provider's."""
    return "" if provider in FOREIGN and INVENTED_ID.match(response_id) else response_id


def finish_reason_named(reason: str) -> str:
    """stop, length, tool_calls, content_filter or error; another reason as it is, in lower case."""
    plain = reason.strip().lower().replace("-", "_")
    return FINISH_REASONS.get(plain, plain)
