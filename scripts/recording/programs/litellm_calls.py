"""LiteLLM, over OpenAI and over Anthropic, under whatever the recording names."""

from shared import (
    CAPITAL,
    HANDBOOK,
    LOOKUP,
    SESSION,
    STATUS,
    SYSTEM,
    USER,
    VACCINES,
    WHERE,
    in_session,
    instrument,
    play,
)

CALLBACKS = {"langfuse": "langfuse_otel", "otel": "otel"}
import os  # noqa: E402

import litellm  # noqa: E402

if name := CALLBACKS.get(os.environ["INSTRUMENTED"]):
    litellm.callbacks = [name]
else:
    instrument()
TOOLS = [{"type": "function", "function": LOOKUP}]
OPENAI, CLAUDE = "gpt-4o-mini", "anthropic/claude-sonnet-4-5"


def user(text):
    return {"role": "user", "content": text}


def ask(*messages, model=OPENAI, **more):
    listed = [{"role": "system", "content": SYSTEM}, *messages]
    return litellm.completion(model=model, messages=listed, max_retries=0, **more)


def chat(model=OPENAI):
    ask(user(CAPITAL), model=model, max_tokens=60)


def prefixed():
    chat("openai/gpt-4o-mini")


def multi_turn(model=OPENAI):
    content = [{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    first = ask(user(content if model == CLAUDE else HANDBOOK), model=model).choices[0].message.content
    asked = user(content if model == CLAUDE else HANDBOOK)
    ask(asked, {"role": "assistant", "content": first}, user(CAPITAL), model=model)


def stream(model=OPENAI):
    list(ask(user(VACCINES), model=model, stream=True, stream_options={"include_usage": True}))


def stream_no_usage():
    list(ask(user(VACCINES), stream=True))


def tool_call(model=OPENAI):
    asked = ask(user(WHERE), model=model, tools=TOOLS).choices[0].message
    result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": STATUS}
    ask(user(WHERE), asked.model_dump(exclude_none=True), result, model=model, tools=TOOLS)


def tool_stream(model=OPENAI):
    list(ask(user(WHERE), model=model, tools=TOOLS, stream=True, stream_options={"include_usage": True}))


def reasoning():
    ask(user(VACCINES), model="o4-mini", reasoning_effort="low")


def error_429():
    chat()


def error_500():
    chat()


def embedding():
    litellm.embedding(model="text-embedding-3-small", input=[CAPITAL])


def session():
    with in_session():
        ask(user(CAPITAL), user=USER, metadata={"session_id": SESSION, "trace_user_id": USER})


def responses():
    litellm.responses(model=OPENAI, instructions=SYSTEM, input=CAPITAL)


async def acompletion():
    await litellm.acompletion(model=OPENAI, messages=[user(CAPITAL)])


def ant_chat():
    chat(CLAUDE)


def ant_multi_turn():
    multi_turn(CLAUDE)


def ant_stream():
    stream(CLAUDE)


def ant_tool_call():
    tool_call(CLAUDE)


def ant_tool_stream():
    tool_stream(CLAUDE)


def ant_reasoning():
    ask(user(VACCINES), model=CLAUDE, thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=4000)


def ant_error_429():
    chat(CLAUDE)


if __name__ == "__main__":
    play(globals())
    import time

    time.sleep(2)  # callbacks run in threads of their own
