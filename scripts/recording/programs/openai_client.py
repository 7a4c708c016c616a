"""OpenAI's own client under whatever the recording names."""

from shared import CAPITAL, HANDBOOK, LOOKUP, STATUS, SYSTEM, VACCINES, WHERE, in_session, instrument, parent, play

NAMES = instrument()
from openai import OpenAI  # noqa: E402

client = OpenAI(max_retries=0)
MODEL = "gpt-4o-mini"
TOOLS = [{"type": "function", "function": LOOKUP}]


def ask(*messages, model=MODEL, **more):
    listed = [{"role": "system", "content": SYSTEM}, *messages]
    return client.chat.completions.create(model=model, messages=listed, **more)


def user(text):
    return {"role": "user", "content": text}


def said(stream):
    return [chunk.choices[0].delta for chunk in stream if chunk.choices]


def chat():
    ask(user(CAPITAL), temperature=0.2, max_tokens=60)


def with_parent():
    with parent():
        chat()


def stream_with_parent():
    with parent():
        stream()


def multi_turn():
    first = ask(user(HANDBOOK + "What goes by freight?")).choices[0].message
    ask(user(HANDBOOK + "What goes by freight?"), {"role": "assistant", "content": first.content}, user(CAPITAL))


def stream():
    said(ask(user(VACCINES), stream=True, stream_options={"include_usage": True}))


def stream_no_usage():
    said(ask(user(VACCINES), stream=True))


def stream_early_close():
    answer, got = ask(user(VACCINES), stream=True), ""
    for chunk in answer:
        got += chunk.choices[0].delta.content or ""
        if len(got) > 20:
            break
    answer.close()
    print("received:", got)


def tool_call():
    asked = ask(user(WHERE), tools=TOOLS).choices[0].message
    result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": STATUS}
    ask(user(WHERE), asked.model_dump(exclude_none=True), result, tools=TOOLS)


def tool_stream():
    said(ask(user(WHERE), tools=TOOLS, stream=True, stream_options={"include_usage": True}))


def reasoning():
    ask(user(VACCINES), model="o4-mini", reasoning_effort="low", max_completion_tokens=2000)


def error_429():
    chat()


def error_500():
    stream()


def embedding():
    client.embeddings.create(model="text-embedding-3-small", input=[CAPITAL, VACCINES], dimensions=8)


def session():
    with in_session():
        chat()


def responses():
    client.responses.create(model=MODEL, instructions=SYSTEM, input=CAPITAL)


def responses_tool():
    tools = [{"type": "function", "strict": False, **LOOKUP}]
    first = client.responses.create(model=MODEL, instructions=SYSTEM, input=WHERE, tools=tools)
    result = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": STATUS}
    items = [user(WHERE), *(item.model_dump(exclude_none=True) for item in first.output), result]
    client.responses.create(model=MODEL, instructions=SYSTEM, input=items, tools=tools)


def responses_reasoning():
    client.responses.create(model="o4-mini", input=VACCINES, reasoning={"effort": "low"})


def responses_stream():
    list(client.responses.create(model=MODEL, instructions=SYSTEM, input=CAPITAL, stream=True))


def responses_stream_helper():
    with client.responses.stream(model=MODEL, instructions=SYSTEM, input=CAPITAL) as events:
        list(events)


def helper_stream():
    with client.chat.completions.stream(model=MODEL, messages=[user(VACCINES)]) as events:
        list(events)


def parsed():
    import pydantic

    class City(pydantic.BaseModel):
        name: str

    client.chat.completions.parse(model=MODEL, messages=[user(CAPITAL)], response_format=City)


async def concurrent():
    import asyncio

    from openai import AsyncOpenAI

    several = AsyncOpenAI(max_retries=0)
    with parent():
        questions = (CAPITAL, CAPITAL, VACCINES)
        await asyncio.gather(
            *(several.chat.completions.create(model=MODEL, messages=[user(text)]) for text in questions)
        )


play(globals())
