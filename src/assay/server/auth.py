"""Who may talk to the server: everyone on this machine by default, holders of a key where keys are set.

Keys come as `Authorization: Bearer KEY`, `x-api-key: KEY`, or as the password of HTTP Basic, which is how
a browser asks for it; a browser is then remembered by a cookie, since it cannot send headers with the
dashboard's WebSocket.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

COOKIE = "assay_session"


class RequireKey:
    """ASGI middleware that lets only holders of one of the keys through."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        # Signed with a secret of this process: cookies end with the server, and hold no key.
        secret = secrets.token_bytes(32)
        self._cookie = hmac.new(secret, b"assay", sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._remembered(headers):
            await self._app(scope, receive, send)
        elif any(self._is_key(offered) for offered in _offered_keys(headers)):
            await self._app(scope, receive, self._remembering(send))
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008, reason="an API key is needed")(scope, receive, send)
        else:
            await _refusal()(scope, receive, send)

    def _is_key(self, offered: str) -> bool:
        return any(hmac.compare_digest(offered.encode(), key) for key in self._keys)

    def _remembered(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._cookie.encode())

    def _remembering(self, send: Send) -> Send:
        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = f"{COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"
                MutableHeaders(scope=message).append("set-cookie", value)
            await send(message)

        return send_with_cookie


def _offered_keys(headers: Headers) -> list[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    offered = [headers.get("x-api-key", "")]
    if scheme.lower() == "bearer":
        offered.append(credentials.strip())
    elif scheme.lower() == "basic":
        offered.append(_basic_password(credentials))
    return [key for key in offered if key]


def _basic_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials).decode().partition(":")[2]
    except ValueError:
        return ""


def _refusal() -> PlainTextResponse:
    return PlainTextResponse(
        "an API key is needed: send Authorization: Bearer KEY, or x-api-key: KEY\n",
        401,
        {"WWW-Authenticate": 'Basic realm="Assay: any user name, an API key as password"'},
    )
