"""OpenAI's Agents SDK, over the Responses and the Chat Completions API."""

from shared import CAPITAL, SESSION, STATUS, SYSTEM, VACCINES, WHERE, in_session, instrument, play

NAMES = instrument()
from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool  # noqa: E402
from openai import AsyncOpenAI  # noqa: E402

client = AsyncOpenAI(max_retries=0)


@function_tool
def lookup_order(order_id: str) -> str:
    """Look up the status of an order."""
    return STATUS


def agent(chat=False, name="gpt-4o-mini"):
    model = OpenAIChatCompletionsModel(name, client) if chat else name
    return Agent(name="helpdesk", instructions=SYSTEM, model=model, tools=[lookup_order])


async def streamed(text, one):
    run = Runner.run_streamed(one, text)
    async for _ in run.stream_events():
        pass


async def chat():
    await Runner.run(agent(), CAPITAL)


async def stream():
    await streamed(VACCINES, agent())


async def tool_call():
    await Runner.run(agent(), WHERE)


async def tool_stream():
    await streamed(WHERE, agent())


async def completions():
    await Runner.run(agent(chat=True), CAPITAL)


async def completions_tool():
    await Runner.run(agent(chat=True), WHERE)


async def completions_stream():
    await streamed(VACCINES, agent(chat=True))


async def reasoning():
    await Runner.run(agent(name="o4-mini"), VACCINES)


async def session():
    with in_session():
        await Runner.run(agent(), CAPITAL, run_config=RunConfig(group_id=SESSION))


async def error_429():
    await chat()


play(globals())
