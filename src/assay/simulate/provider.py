"""A simulated OpenAI and Anthropic: a real HTTP server that answers their clients' requests believably.

In: requests of any OpenAI client (chat completions, responses, embeddings, models) or Anthropic client (messages).
Out: texts, usage, latencies and errors as the real services would give. All of it follows from the seed, the
request and how often it came before, except response ids, which are unique across runs. Any API key is accepted
unless it begins with "bad". Faults on demand: faults.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, cast, get_args

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from assay.errors import AssayError
from assay.simulate import faults as fault
from assay.simulate import messages, responses, wire
from assay.simulate.answers import Choice, choices
from assay.simulate.faults import Fault, Faults, ProviderError
from assay.simulate.messages import messages_request
from assay.simulate.models import Model, Pace, anthropic_models, models, pace
from assay.simulate.requests import ChatRequest, chat_request, check_reasoning, embedding_request
from assay.simulate.responses import responses_request
from assay.simulate.texts import Manner, library
from assay.simulate.tokens import PromptCache, count_tokens, prompt_tokens

_REMEMBERED = 10_000
_SLOW = 8.0


def provider_app(
    *, seed: int = 0, latency_scale: float = 1.0, faults: Faults | None = None, hang_s: float = 600.0
) -> Starlette:
    """The provider as an ASGI app: POST /v1/chat/completions, /v1/responses, /v1/embeddings and /v1/messages,
    GET /v1/models.

    `latency_scale` multiplies every latency, 0 answers at once. `faults` come by chance, none by default. A
    `timeout` fault holds the request for `hang_s` real seconds, unless the client gives up, and answers 504.
    """
    provider = _Provider(seed, latency_scale, faults or Faults(), hang_s)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _answering(provider.chat), methods=["POST"]),
            Route("/v1/responses", _answering(provider.responses), methods=["POST"]),
            Route("/v1/messages", _answering(provider.messages, anthropic=True), methods=["POST"]),
            Route("/v1/embeddings", _answering(provider.embeddings), methods=["POST"]),
            Route("/v1/models", _answering(provider.models)),
            Route("/v1/models/{name:path}", _answering(provider.model)),
        ],
        exception_handlers={404: _no_such_url, 405: _no_such_url},
    )


@contextmanager
def running_provider(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    latency_scale: float = 1.0,
    faults: Faults | None = None,
    hang_s: float = 600.0,
) -> Generator[str]:
    """Run the provider in a background thread and yield its base URL, such as http://127.0.0.1:41731/v1.

    That is for OpenAI's clients; Anthropic's want it without the /v1.
    Port 0 takes a free one. On leaving, by Ctrl-C too, requests still under way are broken off and the thread
    ends within half a second. Raises AssayError when the port is taken.
    """
    app = provider_app(seed=seed, latency_scale=latency_scale, faults=faults, hang_s=hang_s)
    listener = _listener(host, port)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="assay-provider", daemon=True)
    with _quiet(thread), listener:
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://{host}:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


class _Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One chat, answered: what the shape of an API is put around."""

    model: Model
    answers: Sequence[Choice]
    prompt_tokens: int
    speed: Pace
    breaks: bool
    rng: random.Random


class _Provider:
    def __init__(self, seed: int, latency_scale: float, faults: Faults, hang_s: float) -> None:
        self._seed = seed
        self._scale = latency_scale
        self._faults = faults
        self._hang_s = hang_s
        self._library = library()
        self._models = models()
        self._anthropic_models = anthropic_models()
        self._cache = PromptCache()
        self._times_seen: OrderedDict[bytes, int] = OrderedDict()
        self._conversations: OrderedDict[str, tuple[wire.Json, ...]] = OrderedDict()

    async def chat(self, request: Request) -> Response:
        asked = chat_request(await request.body())
        model = self._model(asked.model)
        check_reasoning(asked, model)
        turn = await self._turn(request, asked, model, model.reasons)
        counts = wire.usage(turn.answers, turn.prompt_tokens, self._cached(turn, asked))
        envelope = _envelope("chatcmpl-", model)
        if asked.stream:
            parts = wire.deltas(envelope, turn.answers, counts if asked.include_usage else None, turn.rng)
            return _streamed(turn, parts, last=b"data: [DONE]\n\n")
        return await _whole(turn, wire.completion(envelope, turn.answers, counts))

    async def responses(self, request: Request) -> Response:
        asked = responses_request(await request.body())
        earlier = self._conversation(asked.previous_response_id)
        chat = msgspec.structs.replace(asked.chat, messages=(*earlier, *asked.chat.messages))
        model = self._model(chat.model)
        turn = await self._turn(request, chat, model, model.reasons)
        [answer] = turn.answers
        counts = responses.usage(answer, turn.prompt_tokens, self._cached(turn, chat))
        envelope = _envelope("resp_", model)
        said = tuple(message for message in chat.messages if message["role"] != "system")
        _remember(self._conversations, envelope.id, (*said, responses.answered(answer, envelope)))
        if chat.stream:
            return _streamed(turn, responses.events(envelope, answer, counts, asked.repeated, turn.rng))
        return await _whole(turn, responses.response(envelope, answer, counts, asked.repeated))

    async def messages(self, request: Request) -> Response:
        asked = messages_request(await request.body())
        chat = asked.chat
        model = self._anthropic_models.get(chat.model)
        if model is None:
            raise ProviderError(404, f"model: {chat.model}")
        turn = await self._turn(request, chat, model, asked.thinks)
        [answer] = turn.answers
        read, written = self._cache.marked_tokens(model.name, asked.marked)
        read = min(read, turn.prompt_tokens)
        counts = messages.usage(answer, turn.prompt_tokens, read, min(written, turn.prompt_tokens - read))
        envelope = _envelope("msg_", model)
        if chat.stream:
            return _streamed(turn, messages.events(envelope, answer, counts, chat.prompt, turn.rng))
        return await _whole(turn, messages.message(envelope, answer, counts, chat.prompt))

    async def _turn(self, request: Request, asked: ChatRequest, model: Model, reasons: bool) -> _Turn:
        key = self._key([asked.model, asked.messages], asked.seed)
        happening = await self._happening(request, key, asked.model)
        prompted = prompt_tokens(asked.texts, asked.tools_text)
        _check_length(prompted, model)
        rng = _seeded(f"{key}|text")
        answers = choices(asked, self._library, rng, _manner(happening), reasons)
        return _Turn(
            model=model,
            answers=answers,
            prompt_tokens=prompted,
            speed=self._pace(model, key, happening, max(answer.reasoning_tokens for answer in answers)),
            breaks="disconnect" in happening,
            rng=rng,
        )

    def _cached(self, turn: _Turn, asked: ChatRequest) -> int:
        return min(self._cache.cached_tokens(turn.model.name, asked.texts), turn.prompt_tokens)

    def _conversation(self, response_id: str | None) -> tuple[wire.Json, ...]:
        if response_id is None:
            return ()
        if response_id not in self._conversations:
            message = f"Previous response with id '{response_id}' not found."
            raise fault.bad_request(message, "previous_response_id", "previous_response_not_found")
        return self._conversations[response_id]

    async def embeddings(self, request: Request) -> Response:
        asked = embedding_request(await request.body())
        model = self._model(asked.model, embeds=True)
        key = self._key([asked.model, asked.texts], None)
        happening = await self._happening(request, key, asked.model)
        tokens = sum(map(count_tokens, asked.texts))
        _check_length(max(map(count_tokens, asked.texts)), model)
        speed = self._pace(model, key, happening)
        await asyncio.sleep(speed.first_token_s + tokens * speed.per_token_s)
        dimensions = asked.dimensions or model.dimensions
        vectors = [wire.embedding(text, dimensions) for text in asked.texts]
        return _json(wire.embeddings(model, vectors, tokens, asked.base64))

    async def models(self, _request: Request) -> Response:
        cards = [wire.model_card(model, name) for name, model in self._models.items()]
        return _json({"object": "list", "data": cards})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._models:
            raise fault.unknown_model(name)
        return _json(wire.model_card(self._models[name], name))

    def _model(self, name: str, embeds: bool = False) -> Model:
        model = self._models.get(name)
        if model is None:
            raise fault.unknown_model(name)
        if bool(model.dimensions) != embeds:
            wanted = "embeddings" if embeds else "chat"
            raise fault.bad_request(f"'{name}' is not a {wanted} model.", "model")
        return model

    def _key(self, content: Sequence[Any], chosen_seed: int | None) -> str:
        digest = hashlib.blake2b(msgspec.json.encode(content), digest_size=16).digest()
        if chosen_seed is not None:
            return f"{self._seed}|{digest.hex()}|seed {chosen_seed}"
        times = self._times_seen.pop(digest, 0)
        _remember(self._times_seen, digest, times + 1)
        return f"{self._seed}|{digest.hex()}|{times}"

    async def _happening(self, request: Request, key: str, model: str) -> frozenset[Fault]:
        """The faults of this request, after those that need no answer have run their course."""
        header = request.headers.get(fault.HEADER)
        happening = self._faults.draw(_seeded(f"{key}|faults")) if header is None else fault.demanded(header)
        if error := fault.error_for(happening, model):
            raise error
        if "timeout" in happening:
            await _until_gone(request, self._hang_s)
            raise ProviderError(504, "The request timed out. Please try again.", kind="timeout")
        return happening

    def _pace(self, model: Model, key: str, happening: frozenset[Fault], reasoning_tokens: int = 0) -> Pace:
        factor = self._scale * (_SLOW if "slow" in happening else 1.0)
        return pace(model, _seeded(f"{key}|pace"), reasoning_tokens).slower(factor)


def _answering(
    endpoint: Callable[[Request], Awaitable[Response]], anthropic: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        try:
            _check_key(request)
            return await endpoint(request)
        except ProviderError as error:
            return _json(error.body, error.status, error.headers)

    async def answered_as_anthropic(request: Request) -> Response:
        headers = {"request-id": f"req_{secrets.token_hex(12)}"}
        try:
            _check_key(request)
            response = await endpoint(request)
        except ProviderError as error:
            body = messages.error_body(error, headers["request-id"])
            response = _json(body, error.status, error.headers)
        response.headers.update(headers)
        return response

    return answered_as_anthropic if anthropic else answered


def _check_key(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get("x-api-key") or (key if scheme.lower() == "bearer" else "")
    if not key or key.startswith("bad"):
        raise fault.unauthorised(key)


def _check_length(tokens: int, model: Model) -> None:
    if tokens > model.context_window:
        raise fault.bad_request(
            f"This model's maximum context length is {model.context_window} tokens. However, your messages"
            f" resulted in {tokens} tokens. Please reduce the length of the messages.",
            "messages",
            "context_length_exceeded",
        )


def _envelope(prefix: str, model: Model) -> wire.Envelope:
    return wire.Envelope(id=f"{prefix}{secrets.token_hex(14)}", created=int(time.time()), model=model.dated)


def _remember(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    kept[key] = value
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)


def _streamed(turn: _Turn, parts: Iterable[wire.Delta], last: bytes = b"") -> Response:
    return StreamingResponse(_sent(turn, list(parts), last), media_type="text/event-stream", headers=_headers())


async def _sent(turn: _Turn, parts: Sequence[wire.Delta], last: bytes) -> AsyncIterator[bytes]:
    await asyncio.sleep(turn.speed.first_token_s)
    for part in parts[: len(parts) // 2] if turn.breaks else parts:
        await asyncio.sleep(part.tokens * turn.speed.per_token_s)
        yield part.encoded
    if turn.breaks:
        raise ConnectionAbortedError("broken off on demand")
    yield last


async def _whole(turn: _Turn, body: wire.Json) -> Response:
    visible = max(answer.tokens - answer.reasoning_tokens for answer in turn.answers)
    await asyncio.sleep(turn.speed.first_token_s + visible * turn.speed.per_token_s)
    if turn.breaks:
        return StreamingResponse(_broken_off(b'{"id": "'), media_type="application/json")
    return _json(body)


def _seeded(key: str) -> random.Random:
    return random.Random(key)  # noqa: S311 (chance that can be repeated is what is wanted)


def _manner(happening: frozenset[Fault]) -> Manner:
    faulty: list[Manner] = [manner for manner in cast("tuple[Manner, ...]", get_args(Manner)) if manner in happening]
    return faulty[0] if faulty else "answer"


async def _until_gone(request: Request, longest_s: float) -> None:
    """Wait until the client has closed the connection; the body is read, so nothing else can come."""
    try:
        async with asyncio.timeout(longest_s):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _broken_off(start: bytes) -> AsyncIterator[bytes]:
    yield start
    raise ConnectionAbortedError("broken off on demand")


async def _no_such_url(request: Request, _error: Exception) -> Response:
    message = f"Invalid URL ({request.method} {request.url.path})"
    return _json(ProviderError(404, message).body, 404)


def _json(body: wire.Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    encoded = msgspec.json.encode(body)
    return Response(encoded, status, {**_headers(), **(headers or {})}, media_type="application/json")


def _headers() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(16)}", "openai-version": "2020-10-01"}


def _listener(host: str, port: int) -> socket.socket:
    # asyncio sends small writes at once only where it sees this protocol number; without it each answer
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
        return listener
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AssayError(
            f"cannot start the simulated provider on {host}:{port}: {reason}. Use port 0 to take a free one."
        ) from error


@contextmanager
def _quiet(thread: threading.Thread) -> Generator[None]:
    """Drop this server's log lines, broken connections among them, and no other server's."""
    logger = logging.getLogger("uvicorn.error")

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.threadName != thread.name

    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)
