"""One server's API over HTTP: requests out, answers or clear errors back."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from json import loads
from typing import Any

import httpx

from assay.errors import AssayError, NotFound, ServerError

Answer = dict[str, Any]

SLOW_SECONDS = 120.0
"""A report asks some fifteen questions, a PDF has to be set, and what fits classifiers takes seconds."""


class Api:
    """A connection to the API of one server. Raises NotFound, ServerError, or AssayError with the server's reason."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _get(self, path: str, filters: dict[str, Any], **options: Any) -> Any:
        return self._parsed(self._request("GET", path, filters, **options))

    def _post(self, path: str, body: dict[str, Any], **filters: Any) -> Any:
        return self._parsed(self._request("POST", path, filters, json=body))

    def _parsed(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise ServerError(
                f"what answers at {response.url} is not Assay: set ASSAY_URL to Assay's address"
            ) from None

    def _request(
        self,
        method: str,
        path: str,
        filters: dict[str, Any] | None = None,
        *,
        json: Any = None,
        accepted: tuple[int, ...] = (200, 201),
        **options: Any,
    ) -> httpx.Response:
        try:
            response = self._client.request(method, path, params=given(filters), json=json, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if response.status_code not in accepted:
            raise _refusal(response)
        return response

    @contextmanager
    def _download(self, path: str, filters: dict[str, Any]) -> Generator[httpx.Response]:
        """The answer as it begins; its body is yet to be read."""
        try:
            with self._client.stream("GET", path, params=given(filters)) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _lines(self, method: str, path: str, **options: Any) -> Iterator[Answer]:
        try:
            with self._client.stream(method, path, **options) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                yield from map(loads, response.iter_lines())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServerError:
        url = str(self._client.base_url).removesuffix("/api/")
        reason = str(error) or type(error).__name__
        return ServerError(f"no Assay answers at {url} ({reason}): start one with `assay serve`, or set ASSAY_URL")


def hexadecimal(text: str, what: str = "id") -> str:
    """An id as it may stand in a path. Raises NotFound where it is none."""
    if not text.isalnum():
        raise NotFound(f"{text!r} is no {what}: those are hexadecimal")
    return text


def given(filters: dict[str, Any] | None) -> dict[str, Any]:
    """Without what was left out. Half a surrogate pair, which no URL can hold, becomes a question mark."""
    return {name: _sendable(value) for name, value in (filters or {}).items() if value is not None}


def _sendable(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _refusal(response: httpx.Response) -> AssayError:
    try:
        answer = response.json()
        reason = answer.get("error") or "; ".join(
            f"{'.'.join(map(str, detail['loc'][1:]))}: {detail['msg']}" for detail in answer["detail"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = response.text.strip()[:500] or response.reason_phrase
    if response.status_code == 404:
        return NotFound(reason)
    return ServerError(f"{response.status_code}: {reason}") if response.status_code >= 500 else AssayError(reason)
