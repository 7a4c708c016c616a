"""LangChain's chat models, over OpenAI and over Anthropic, under whatever the recording names."""

from shared import CAPITAL, HANDBOOK, SESSION, STATUS, SYSTEM, USER, VACCINES, WHERE, instrument, play

NAMES = instrument() if __import__("os").environ["INSTRUMENTED"] != "langfuse" else ["langfuse"]
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402

CONFIG = {}
if "langfuse" in NAMES:
    from langfuse.langchain import CallbackHandler

    CONFIG = {"callbacks": [CallbackHandler()]}


@tool
def lookup_order(order_id: str) -> str:
    """Look up the status of an order."""
    return STATUS


def openai(**more):
    return ChatOpenAI(**{"model": "gpt-4o-mini", "max_retries": 0, **more})


def anthropic(**more):
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(**{"model": "claude-sonnet-4-5", "max_retries": 0, "max_tokens": 4000, **more})


def asked(*more):
    return [SystemMessage(SYSTEM), *more]


def ask(model, *messages, **config):
    return model.invoke(asked(*messages), {**CONFIG, **config})


def chat():
    ask(openai(), HumanMessage(CAPITAL))


def multi_turn():
    first = ask(openai(), HumanMessage(HANDBOOK))
    ask(openai(), HumanMessage(HANDBOOK), AIMessage(first.content), HumanMessage(CAPITAL))


def stream():
    list(openai(stream_usage=True).stream(asked(HumanMessage(VACCINES)), CONFIG))


def stream_no_usage():
    list(openai(stream_usage=False).stream(asked(HumanMessage(VACCINES)), CONFIG))


def tool_call(model=None):
    from langchain.agents import create_agent

    agent = create_agent(model or openai(), [lookup_order], system_prompt=SYSTEM)
    agent.invoke({"messages": [HumanMessage(WHERE)]}, CONFIG)


def tool_stream(model=None):
    list((model or openai(stream_usage=True)).bind_tools([lookup_order]).stream(asked(HumanMessage(WHERE)), CONFIG))


def reasoning():
    ask(openai(model="o4-mini", reasoning_effort="low"), HumanMessage(VACCINES))


def error_429():
    chat()


def embedding():
    from langchain_openai import OpenAIEmbeddings

    OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False).embed_documents([CAPITAL, WHERE])


def session():
    metadata = {"session_id": SESSION, "user_id": USER, "langfuse_session_id": SESSION, "langfuse_user_id": USER}
    ask(openai(), HumanMessage(CAPITAL), metadata=metadata)


def responses():
    ask(openai(use_responses_api=True), HumanMessage(CAPITAL))


def responses_stream():
    list(openai(use_responses_api=True).stream(asked(HumanMessage(CAPITAL)), CONFIG))


def ant_chat():
    ask(anthropic(), HumanMessage(CAPITAL))


def ant_multi_turn():
    cached = [{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    for text in (CAPITAL, VACCINES):
        anthropic().invoke([SystemMessage(cached), HumanMessage(text)], CONFIG)


def ant_stream():
    list(anthropic().stream(asked(HumanMessage(VACCINES)), CONFIG))


def ant_tool_call():
    tool_call(anthropic())


def ant_tool_stream():
    tool_stream(anthropic())


def ant_reasoning():
    ask(anthropic(thinking={"type": "enabled", "budget_tokens": 2000}), HumanMessage(VACCINES))


def ant_error_429():
    ant_chat()


def tool_history():
    called = AIMessage("", tool_calls=[{"id": "call_1", "name": "lookup_order", "args": {"order_id": "FH-20417"}}])
    model = openai().bind_tools([lookup_order])
    ask(model, HumanMessage(WHERE), called, ToolMessage(STATUS, tool_call_id="call_1"))


play(globals())
