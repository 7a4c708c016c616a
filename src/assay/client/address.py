"""Where the server is, and the key it wants."""

from __future__ import annotations

import os
from typing import NamedTuple

DEFAULT_URL = "http://127.0.0.1:4318"


class Address(NamedTuple):
    """A server's URL (no trailing slash) and the API key for it, "" where it wants none."""

    url: str
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request must carry."""
        return {"x-api-key": self.api_key} if self.api_key else {}


def address(url: str | None = None, api_key: str | None = None) -> Address:
    """The given address, completed from ASSAY_URL and ASSAY_API_KEY, else this machine's port 4318."""
    chosen = url or os.environ.get("ASSAY_URL") or DEFAULT_URL
    return Address(chosen.rstrip("/"), api_key or os.environ.get("ASSAY_API_KEY", ""))
