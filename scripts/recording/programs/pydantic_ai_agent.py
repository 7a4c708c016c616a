"""Pydantic AI, any version: the data format and other settings come from the recording."""

import json
import os

from shared import CAPITAL, HANDBOOK, STATUS, SYSTEM, VACCINES, WHERE, export, in_session, play

export()
from pydantic_ai import Agent  # noqa: E402

try:
    from pydantic_ai import InstrumentationSettings
except ImportError:
    from pydantic_ai.models.instrumented import InstrumentationSettings

Agent.instrument_all(InstrumentationSettings(**json.loads(os.environ.get("PYDANTIC_AI_SETTINGS", "{}"))))
MODERN = not os.environ.get("PYDANTIC_AI_OLD")
CHAT = "openai-chat:gpt-4o-mini" if MODERN else "openai:gpt-4o-mini"
CLAUDE = "anthropic:claude-sonnet-4-5"


def agent(model=CHAT, **more):
    one = Agent(model, system_prompt=SYSTEM, retries=0, **more)

    @one.tool_plain
    def lookup_order(order_id: str) -> str:
        """Look up the status of an order."""
        return STATUS

    return one


async def streamed(text, model=CHAT):
    async with agent(model).run_stream(text) as run:
        async for _ in run.stream_text():
            pass


async def chat():
    await agent().run(CAPITAL)


async def multi_turn():
    first = await agent().run(HANDBOOK)
    await agent().run(CAPITAL, message_history=first.all_messages())


async def stream():
    await streamed(VACCINES)


async def tool_call():
    await agent().run(WHERE)


async def reasoning():
    await agent(CHAT.replace("gpt-4o-mini", "o4-mini")).run(VACCINES)


async def session():
    with in_session():
        await agent().run(CAPITAL)


async def error_429():
    await agent().run(CAPITAL)


async def responses():
    await agent("openai-responses:gpt-4o-mini").run(CAPITAL)


async def responses_tool():
    await agent("openai-responses:gpt-4o-mini").run(WHERE)


async def ant_chat():
    await agent(CLAUDE).run(CAPITAL)


async def ant_stream():
    await streamed(VACCINES, CLAUDE)


async def ant_tool_call():
    await agent(CLAUDE).run(WHERE)


async def ant_reasoning():
    thinking = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}
    await agent(CLAUDE).run(VACCINES, model_settings=thinking)


play(globals())
