"""Ask an Assay server: the API as Python functions, for notebooks, scripts, the dashboard and the CLI."""

from __future__ import annotations

import httpx

from assay.client.address import DEFAULT_URL, address
from assay.client.api.alerts import Alerts
from assay.client.api.calls import Calls
from assay.client.api.connection import Answer
from assay.client.api.files import Files
from assay.client.api.models import Models
from assay.client.api.scores import Scores
from assay.errors import AssayError


def connect(url: str | None = None, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> Monitor:
    """A Monitor for the server at `url` (default ASSAY_URL, else http://127.0.0.1:4318).

    Raises AssayError where that is no URL.
    """
    where = address(url, api_key)
    try:
        client = httpx.Client(base_url=f"{where.url}/api", headers=where.headers, timeout=timeout_seconds)
    except httpx.InvalidURL as error:
        raise AssayError(f"{where.url!r} is no URL of a server ({error}): write for example {DEFAULT_URL}") from None
    return Monitor(client)


class Monitor(Calls, Models, Alerts, Files, Scores):
    """Questions to one server. Filters are keywords: since="24h", until=..., project=, model=, tag="team:search", ...

    Every method raises NotFound, ServerError where no server answers, or AssayError with the server's reason.
    """

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def health(self) -> Answer:
        """The server's state and counters, also when it is failing."""
        return self._parsed(self._request("GET", "/health", accepted=(200, 503)))

    def doctor(self) -> list[Answer]:
        """What may be wrong with the server and its calls: check, status (ok, warning, failure), found, fix."""
        return self._get("/doctor", {})["findings"]
