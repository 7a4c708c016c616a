"""What can go wrong at the provider, by chance or on demand, and the errors in OpenAI's own words.

`error_529` is what Anthropic answers when it is overloaded; messages.py puts the others in Anthropic's words.

On demand: the request header `x-simulate` names one or more faults, separated by commas, for example
`error_429` or `slow,toxic`. By chance: `Faults` gives the rate of each. A fault on demand replaces chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import msgspec

HEADER = "x-simulate"

Fault = Literal[
    "error_400",
    "error_401",
    "error_404",
    "error_429",
    "error_500",
    "error_503",
    "error_529",
    "timeout",
    "slow",
    "disconnect",
    "irrelevant",
    "toxic",
    "ungrounded",
    "empty",
]
"""`timeout` hangs without an answer, `slow` takes eight times as long, `disconnect` breaks off midway. The
last four are answers of bad quality: off the subject, insulting, against the handbook, without text."""

FAULTS: tuple[Fault, ...] = get_args(Fault)


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How often each fault comes by chance, as a share of all requests from 0 to 1. None by default."""

    error_429: float = 0.0
    error_500: float = 0.0
    error_503: float = 0.0
    timeout: float = 0.0
    slow: float = 0.0
    disconnect: float = 0.0
    irrelevant: float = 0.0
    toxic: float = 0.0
    ungrounded: float = 0.0
    empty: float = 0.0

    def draw(self, rng: random.Random) -> frozenset[Fault]:
        """The faults of one request: each is drawn by itself, in a fixed order."""
        rates = cast("dict[Fault, float]", msgspec.structs.asdict(self))
        return frozenset(fault for fault, rate in rates.items() if rng.random() < rate)


class ProviderError(Exception):
    """An answer of the provider that is an error: its HTTP status and the fields of OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code},
        }


def demanded(header: str) -> frozenset[Fault]:
    """The faults that an `x-simulate` header asks for; ProviderError 400 for a name that is none."""
    asked = {name.strip() for name in header.split(",") if name.strip()}
    if unknown := asked.difference(FAULTS):
        known = ", ".join(FAULTS)
        raise ProviderError(400, f"Unknown fault {sorted(unknown)} in {HEADER}. Known are: {known}.", param=HEADER)
    return cast("frozenset[Fault]", frozenset(asked))


def error_for(faults: frozenset[Fault], model: str) -> ProviderError | None:
    """The error that a set of faults leads to, if any."""
    for fault in sorted(faults):
        if fault.startswith("error_"):
            return _ERRORS[fault](model)
    return None


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ProviderError:
    """A 400 about one parameter."""
    return ProviderError(400, message, param=param, code=code)


def unauthorised(key: str) -> ProviderError:
    """A 401: no key, or one that the provider does not accept."""
    if not key:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using"
            " Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        return ProviderError(401, message)
    shown = key if len(key) < 8 else f"{key[:3]}***{key[-4:]}"
    return ProviderError(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def unknown_model(name: str) -> ProviderError:
    """A 404: a model that is not offered."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return ProviderError(404, message, code="model_not_found")


def rate_limited(model: str) -> ProviderError:
    """A 429 with Retry-After, in seconds."""
    message = (
        f"Rate limit reached for {model} in organization org-simulated on tokens per min (TPM): Limit 200000,"
        " Used 199321, Requested 1243. Please try again in 1s."
    )
    headers = {
        "retry-after": "1",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "679",
    }
    return ProviderError(429, message, kind="tokens", code="rate_limit_exceeded", headers=headers)


def server_failed(_model: str = "") -> ProviderError:
    """A 500."""
    message = "The server had an error while processing your request. Sorry about that!"
    return ProviderError(500, message, kind="server_error")


def overloaded(_model: str = "") -> ProviderError:
    """A 503."""
    message = "The engine is currently overloaded, please try again later."
    return ProviderError(503, message, kind="service_unavailable_error")


_ERRORS: Mapping[str, Callable[[str], ProviderError]] = {
    "error_400": lambda _model: bad_request("Invalid value for 'messages[0].content'.", "messages[0].content"),
    "error_401": lambda _model: unauthorised("sk-simulated-bad"),
    "error_404": unknown_model,
    "error_429": rate_limited,
    "error_500": server_failed,
    "error_503": overloaded,
    "error_529": lambda _model: ProviderError(529, "Overloaded", kind="overloaded_error"),
}
