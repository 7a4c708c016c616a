"""One process holds an embedded store at a time; the others learn who does, and how to ask it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from assay.errors import StoreError


class StoreLock:
    """An advisory lock on a store directory, kept until `release` or the end of the process.

    The operating system drops it when the process dies, however it dies, so no stale lock can be left.
    """

    def __init__(self, directory: Path, url: str = "") -> None:
        """Take the lock. `url` is where the holder answers. Raises StoreError naming the present holder."""
        self._path = directory / "assay.lock"
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StoreError(_held_message(directory, lock_holder(directory))) from None
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": os.getpid(), "url": url}))
        self._file.flush()

    def release(self) -> None:
        """Give the store up; safe to call twice."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()


def lock_holder(directory: Path) -> dict[str, Any]:
    """Who last said that they hold the store: {"pid", "url"}, or {} if nobody did."""
    try:
        return json.loads((directory / "assay.lock").read_text())
    except (OSError, ValueError):
        return {}


def _held_message(directory: Path, holder: dict[str, Any]) -> str:
    who = f" (pid {holder['pid']})" if "pid" in holder else ""
    ask = f" Use --url {holder['url']} to ask that one." if holder.get("url") else ""
    return f"cannot open {directory}: another assay process holds it{who}.{ask}"
