"""Google's Agent Development Kit over LiteLLM."""

import uuid

from shared import CAPITAL, SESSION, STATUS, SYSTEM, USER, VACCINES, WHERE, export, play

export()
from google.adk.agents import Agent, RunConfig  # noqa: E402
from google.adk.agents.run_config import StreamingMode  # noqa: E402
from google.adk.models.lite_llm import LiteLlm  # noqa: E402
from google.adk.runners import InMemoryRunner  # noqa: E402
from google.genai import types  # noqa: E402


def lookup_order(order_id: str) -> dict:
    """Look up the status of an order."""
    return {"status": STATUS}


async def ask(*texts, model="openai/gpt-4o-mini", session=None, mode=StreamingMode.NONE):
    one = Agent(name="helpdesk", model=LiteLlm(model), instruction=SYSTEM, tools=[lookup_order])
    runner = InMemoryRunner(one, app_name="recorded")
    user, session = (USER, SESSION) if session else (f"u-{uuid.uuid4()}", f"s-{uuid.uuid4()}")
    await runner.session_service.create_session(app_name="recorded", user_id=user, session_id=session)
    for text in texts:
        message = types.Content(role="user", parts=[types.Part(text=text)])
        run = runner.run_async(
            user_id=user, session_id=session, new_message=message, run_config=RunConfig(streaming_mode=mode)
        )
        async for _ in run:
            pass


async def chat():
    await ask(CAPITAL)


async def multi_turn():
    await ask(CAPITAL, VACCINES)


async def tool_call():
    await ask(WHERE)


async def stream():
    await ask(VACCINES, mode=StreamingMode.SSE)


async def session():
    await ask(CAPITAL, session=True)


async def reasoning():
    await ask(VACCINES, model="openai/o4-mini")


async def ant_chat():
    await ask(CAPITAL, model="anthropic/claude-sonnet-4-5")


async def ant_tool_call():
    await ask(WHERE, model="anthropic/claude-sonnet-4-5")


async def error_429():
    await ask(CAPITAL)


play(globals())
