"""Anthropic's own client under whatever the recording names."""

from shared import (
    CAPITAL,
    HANDBOOK,
    LOOKUP,
    ORDER,
    STATUS,
    SYSTEM,
    VACCINES,
    WHERE,
    in_session,
    instrument,
    parent,
    play,
)

NAMES = instrument()
from anthropic import Anthropic  # noqa: E402

client = Anthropic(max_retries=0)
MODEL = "claude-sonnet-4-5"
TOOLS = [{"name": LOOKUP["name"], "description": LOOKUP["description"], "input_schema": ORDER}]


def request(*messages, system=SYSTEM, **more):
    return {"model": MODEL, "max_tokens": 4000, "system": system, "messages": list(messages), **more}


def ask(*messages, **more):
    return client.messages.create(**request(*messages, **more))


def user(content):
    return {"role": "user", "content": content}


def ant_chat():
    ask(user(CAPITAL))


def ant_with_parent():
    with parent():
        ant_chat()


def ant_multi_turn():
    system = [{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    first = ask(user(CAPITAL), system=system).content[0].text
    ask(user(CAPITAL), {"role": "assistant", "content": first}, user(VACCINES), system=system)


def ant_stream():
    list(ask(user(VACCINES), stream=True))


def ant_stream_helper():
    with client.messages.stream(**request(user(VACCINES))) as events:
        events.get_final_message()


def ant_stream_early_close():
    answer, got = ask(user(VACCINES), stream=True), ""
    for event in answer:
        got += getattr(getattr(event, "delta", None), "text", "") or ""
        if len(got) > 20:
            break
    answer.close()
    print("received:", got)


def ant_tool_call():
    asked = ask(user(WHERE), tools=TOOLS)
    called = next(block for block in asked.content if block.type == "tool_use")
    result = [{"type": "tool_result", "tool_use_id": called.id, "content": STATUS}]
    said = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]}
    ask(user(WHERE), said, user(result), tools=TOOLS)


def ant_tool_stream():
    list(ask(user(WHERE), tools=TOOLS, stream=True))


def ant_reasoning():
    ask(user(VACCINES), thinking={"type": "enabled", "budget_tokens": 2000})


def ant_reasoning_stream():
    list(ask(user(VACCINES), thinking={"type": "enabled", "budget_tokens": 2000}, stream=True))


def ant_error_429():
    ant_chat()


def ant_error_500():
    ant_stream()


def ant_session():
    with in_session():
        ant_chat()


play(globals())
