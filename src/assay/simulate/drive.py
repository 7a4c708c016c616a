"""Perform visits with a real openai client, as a small application with a helpdesk agent would.

In: visits, a rate, an `openai.AsyncOpenAI`. Out: real calls, OpenTelemetry spans around them for the agent,
its retrieval and its tools, and a count of what went well. Provider errors are logged and survived.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import msgspec
import openai
from opentelemetry import trace

from assay.simulate.faults import HEADER
from assay.simulate.texts import Library, library
from assay.simulate.tools import definitions, run_tool
from assay.simulate.traffic import Rate, Turn, Visit, steady

logger = logging.getLogger(__name__)

Session = Callable[[str, str], AbstractContextManager[object]]
"""Opens the context in which a visit's calls are made; called with session id and user id."""

Messages = list[dict[str, Any]]

_EMBEDDING_MODEL = "text-embedding-3-small"
_HELPDESK = "You are the support assistant of Fernhill, the maker of the Hearth thermostat."
_CONTEXT = "Answer in a few sentences, and only from these notes:"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one turn went. Without an error there is an answer and the id of the response that gave it."""

    visit: Visit
    turn: Turn
    answer: str = ""
    response_id: str = ""
    latency_ms: float = 0.0
    error: Exception | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a drive did: turns that ended, and how many of them with an error."""

    turns: int
    failed: int


async def drive(
    client: openai.AsyncOpenAI,
    visits: Iterable[Visit],
    *,
    rate: Rate | float = 2.0,
    concurrency: int = 100,
    stop: asyncio.Event | None = None,
    session: Session | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    timeout_s: float = 20.0,
    pause_scale: float = 1.0,
    seed: int = 0,
) -> Totals:
    """Perform the visits until they are exhausted or `stop` is set; that and cancelling it end it at once.

    `rate` is provider calls a second on average, with random gaps. At most `concurrency` visits are under
    way; more wait. Each visit runs inside `session(session_id, user_id)`, and `on_outcome` is called there.
    `timeout_s` limits each call, no call is retried, and `pause_scale` multiplies the users' pauses. What the
    two functions raise ends the drive, in an ExceptionGroup.
    """
    application = _Application(client.with_options(max_retries=0, timeout=timeout_s), library(), pause_scale)
    outcomes: list[bool] = []

    async def receive(visit: Visit) -> None:
        with session(visit.session_id, visit.user_id) if session else nullcontext():
            async for outcome in application.outcomes(visit):
                outcomes.append(outcome.error is None)
                if on_outcome:
                    on_outcome(outcome)

    paced = rate if callable(rate) else steady(rate)
    everyone = asyncio.create_task(_admit(visits, receive, paced, concurrency, seed))
    stopped = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait((everyone, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        everyone.cancel()
        await asyncio.wait((everyone, stopped))
    if not everyone.cancelled():
        everyone.result()
    return Totals(turns=len(outcomes), failed=outcomes.count(False))


async def _admit(
    visits: Iterable[Visit],
    receive: Callable[[Visit], Any],
    rate: Rate,
    concurrency: int,
    seed: int,
) -> None:
    rng = random.Random(f"{seed}|gaps")  # noqa: S311 (chance that can be repeated is what is wanted)
    free = asyncio.Semaphore(concurrency)
    began, gap_s = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as group:
        for visit in visits:
            await asyncio.sleep(gap_s)
            await free.acquire()
            group.create_task(receive(visit)).add_done_callback(lambda _done: free.release())
            per_s = max(rate(time.monotonic() - began), 0.01)
            gap_s = visit.calls * rng.expovariate(per_s)


class _Reply(msgspec.Struct, frozen=True):
    id: str
    text: str
    tool_calls: list[dict[str, Any]]


class _Application:
    def __init__(self, client: openai.AsyncOpenAI, known: Library, pause_scale: float) -> None:
        self._client = client
        self._known = known
        self._pause_scale = pause_scale
        self._tracer = trace.get_tracer("assay.simulate")

    async def outcomes(self, visit: Visit) -> AsyncIterator[Outcome]:
        history: Messages = []
        for turn in visit.turns:
            await asyncio.sleep(turn.pause_s * self._pause_scale)
            outcome = await self._outcome(visit, turn, history)
            if outcome.error is None:
                history += [_said("user", turn.prompt), _said("assistant", outcome.answer)]
            yield outcome

    async def _outcome(self, visit: Visit, turn: Turn, history: Messages) -> Outcome:
        began = time.perf_counter()
        try:
            with self._agent(visit):
                reply = await self._reply(turn, history)
        except openai.OpenAIError as error:
            logger.info("%s got no answer to %r: %s", visit.session_id, turn.prompt, error)
            answered = Outcome(visit=visit, turn=turn, error=error)
        else:
            answered = Outcome(visit=visit, turn=turn, answer=reply.text, response_id=reply.id)
        return msgspec.structs.replace(answered, latency_ms=(time.perf_counter() - began) * 1000)

    async def _reply(self, turn: Turn, history: Messages) -> _Reply:
        messages = [*await self._instructions(turn), *history, _said("user", turn.prompt)]
        reply = await self._ask(turn, messages)
        if not reply.tool_calls:
            return reply
        messages.append({"role": "assistant", "content": None, "tool_calls": reply.tool_calls})
        messages += [self._use_tool(call) for call in reply.tool_calls]
        return await self._ask(turn, messages)

    async def _instructions(self, turn: Turn) -> Messages:
        if turn.context == "none":
            return []
        if turn.context == "handbook":
            return [_said("system", f"{_HELPDESK} {_CONTEXT}\n{self._known.handbook}")]
        if turn.embeds:
            await self._client.embeddings.create(model=_EMBEDDING_MODEL, input=turn.prompt)
        return [_said("system", f"{_HELPDESK} {_CONTEXT}\n{self._retrieved(turn.prompt)}")]

    async def _ask(self, turn: Turn, messages: Messages) -> _Reply:
        asked: dict[str, Any] = {"model": turn.model, "messages": messages, "stream": turn.stream}
        if turn.temperature is not None:
            asked["temperature"] = turn.temperature
        if turn.max_tokens is not None:
            asked["max_tokens"] = turn.max_tokens
        if turn.tools:
            asked["tools"] = definitions(turn.tools)
        if turn.stream and turn.include_usage:
            asked["stream_options"] = {"include_usage": True}
        if turn.fault:
            asked["extra_headers"] = {HEADER: turn.fault}
        answer = await cast(Any, self._client.chat.completions).create(**asked)
        return await _streamed(answer) if turn.stream else _whole(answer)

    def _agent(self, visit: Visit) -> AbstractContextManager[object]:
        if visit.app != "fernhill-helpdesk":
            return nullcontext()
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": visit.app,
            "gen_ai.conversation.id": visit.session_id,
        }
        return self._tracer.start_as_current_span(f"invoke_agent {visit.app}", attributes=attributes)

    def _retrieved(self, prompt: str) -> str:
        found = self._known.passages(prompt)
        documents = [{"id": topic.name, "content": topic.note} for topic in found]
        attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": "fernhill-handbook",
            "gen_ai.retrieval.query.text": prompt,
            "gen_ai.retrieval.top_k": len(found),
            "gen_ai.retrieval.documents": msgspec.json.encode(documents).decode(),
        }
        with self._tracer.start_as_current_span("retrieval fernhill-handbook", attributes=attributes):
            return "\n".join(topic.note for topic in found)

    def _use_tool(self, call: dict[str, Any]) -> dict[str, Any]:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call["id"],
            "gen_ai.tool.call.arguments": arguments,
        }
        with self._tracer.start_as_current_span(f"execute_tool {name}", attributes=attributes) as span:
            result = run_tool(name, arguments)
            span.set_attribute("gen_ai.tool.call.result", result)
        return {"role": "tool", "tool_call_id": call["id"], "content": result}


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _whole(answer: Any) -> _Reply:
    message = answer.choices[0].message
    calls = [call.model_dump(exclude_none=True) for call in message.tool_calls or ()]
    return _Reply(answer.id, message.content or "", calls)


async def _streamed(stream: Any) -> _Reply:
    """Gather a stream's deltas; the first piece of a tool call has its name, the later ones its arguments."""
    response_id, text, calls = "", "", list[dict[str, Any]]()
    async for chunk in stream:
        response_id = chunk.id
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                if call.id:
                    calls.append(call.model_dump(exclude_none=True, exclude={"index"}))
                else:
                    calls[call.index]["function"]["arguments"] += call.function.arguments
    return _Reply(response_id, text, calls)
