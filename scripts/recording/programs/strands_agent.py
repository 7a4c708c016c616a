"""Strands Agents over OpenAI and Anthropic."""

from shared import CAPITAL, SESSION, STATUS, SYSTEM, USER, VACCINES, WHERE, export, play

export()
from strands import Agent, tool  # noqa: E402


@tool
def lookup_order(order_id: str) -> str:
    """Look up the status of an order."""
    return STATUS


def openai(name="gpt-4o-mini", **params):
    from strands.models.openai import OpenAIModel

    return OpenAIModel(model_id=name, params=params, client_args={"max_retries": 0})


def anthropic(**params):
    from strands.models.anthropic import AnthropicModel

    return AnthropicModel(model_id="claude-sonnet-4-5", max_tokens=4000, params=params, client_args={"max_retries": 0})


def agent(model, **more):
    return Agent(model=model, system_prompt=SYSTEM, tools=[lookup_order], callback_handler=None, **more)


def chat():
    agent(openai())(CAPITAL)


def multi_turn():
    one = agent(openai())
    one(CAPITAL)
    one(VACCINES)


def tool_call():
    agent(openai())(WHERE)


def reasoning():
    agent(openai("o4-mini", reasoning_effort="low"))(VACCINES)


def session():
    agent(openai(), trace_attributes={"session.id": SESSION, "user.id": USER})(CAPITAL)


def error_500():
    agent(openai())(CAPITAL)


def ant_chat():
    agent(anthropic())(CAPITAL)


def ant_tool_call():
    agent(anthropic())(WHERE)


play(globals())
