"""The tools of the demo's helpdesk: their definitions for the model, and what they do when called."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_DEFINITIONS: Mapping[str, Mapping[str, Any]] = {
    "lookup_order": {
        "description": "Look up the status of a customer's order by its number.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "description": "Such as FH-20417."}},
            "required": ["order_id"],
        },
    },
    "open_ticket": {
        "description": "Open a support ticket for a person to follow up.",
        "parameters": {
            "type": "object",
            "properties": {
                "subject": {"type": "string"},
                "priority": {"type": "string", "enum": ["normal", "high"]},
            },
            "required": ["subject", "priority"],
        },
    },
}
_STATUSES = ("being packed", "on its way", "out for delivery", "delivered")
_CARRIERS = ("DHL", "DPD", "PostNL")


def definitions(names: Sequence[str]) -> list[dict[str, Any]]:
    """The tools of these names as the chat completions API takes them."""
    return [{"type": "function", "function": {"name": name, **_DEFINITIONS[name]}} for name in names]


def run_tool(name: str, arguments: str) -> str:
    """What a tool answers, as JSON text: always the same for the same arguments, themselves JSON text."""
    given = msgspec.json.decode(arguments, type=dict[str, Any])
    rng = random.Random(arguments)  # noqa: S311 (an order keeps its status)
    if name == "lookup_order":
        found = {
            "order": given["order_id"],
            "status": rng.choice(_STATUSES),
            "carrier": rng.choice(_CARRIERS),
        }
    else:
        found = {"ticket": f"T-{rng.randint(1000, 9999)}", **given}
    return msgspec.json.encode(found).decode()
