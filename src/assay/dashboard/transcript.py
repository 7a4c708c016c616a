"""A call as the conversation it was: who said what, which tools were called, what they answered.

Messages are in the GenAI conventions' form, [{"role": ..., "parts": [{"type": ..., ...}]}]; a part of an unknown kind
is shown as its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import streamlit as st

from assay.dashboard.data import Answer
from assay.dashboard.inert import inert

LONGEST_TEXT = 20_000
"""Of longer texts only so many characters are sent to the browser."""

_FOLDED_FROM = 12
"""Of longer conversations the turns between the first and the last few are folded away."""
_SHOWN_AT_END = 4
_SCROLLS_FROM = 1500
_TEXT_HEIGHT = 300

_ICONS = {
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "system": ":material/settings:",
    "tool": ":material/build:",
}


class Part(NamedTuple):
    """A piece of a turn: its text, and what it is where it is no plain text ("calls get_weather")."""

    text: str
    label: str = ""


class Turn(NamedTuple):
    """What one side said before the other went on."""

    role: str
    parts: list[Part]


def turns(call: Answer) -> list[Turn]:
    """The whole conversation of a call: instructions, earlier turns, prompt and answer."""
    said = [*_messages(call["messages_in"]), *_messages(call["messages_out"])]
    if not any(turn.role == "system" for turn in said) and call["system"]:
        said.insert(0, Turn("system", [Part(call["system"])]))
    if not _messages(call["messages_in"]) and call["prompt"]:
        said.append(Turn("user", [Part(call["prompt"])]))
    if not _messages(call["messages_out"]) and call["response"]:
        said.append(Turn("assistant", [Part(call["response"])]))
    return said


def show_transcript(call: Answer) -> None:
    """Draw the conversation; of a long one the middle is folded away."""
    said = turns(call)
    if not said:
        st.caption("No texts were recorded with this call.")
    if len(said) < _FOLDED_FROM:
        show_turns(said)
        return
    show_turns(said[:1])
    with st.expander(f"{len(said) - 1 - _SHOWN_AT_END} earlier turns", icon=":material/unfold_more:"):
        show_turns(said[1:-_SHOWN_AT_END])
    show_turns(said[-_SHOWN_AT_END:])


def show_turns(said: list[Turn]) -> None:
    """Draw these turns, one message each."""
    for turn in said:
        with st.chat_message(
            turn.role if turn.role in _ICONS else "tool", avatar=_ICONS.get(turn.role, _ICONS["tool"])
        ):
            for part in turn.parts:
                if part.label:
                    st.caption(inert(part.label))
                show_text(part.text)


def show_text(text: str) -> None:
    """A text as it is, cut where a browser would suffer."""
    with st.container(border=False, height=_TEXT_HEIGHT if len(text) > _SCROLLS_FROM else "content"):
        st.text(text[:LONGEST_TEXT] or "(empty)")
    if len(text) > LONGEST_TEXT:
        st.caption(f"{len(text) - LONGEST_TEXT:,} more characters: ask the API for the whole call.")


def _messages(document: str) -> list[Turn]:
    try:
        messages = json.loads(document or "[]")
    except (ValueError, RecursionError):
        return [Turn("tool", [Part(document, "messages that are no JSON")])]
    if not isinstance(messages, list):
        return []
    return [
        Turn(str(message.get("role") or "tool"), list(_parts(message)))
        for message in messages
        if isinstance(message, dict)
    ]


def _parts(message: dict[str, Any]) -> Iterator[Part]:
    parts = message.get("parts")
    for part in parts if isinstance(parts, list) else []:
        yield _part(part) if isinstance(part, dict) else Part(str(part))


def _part(part: dict[str, Any]) -> Part:
    content = part.get("content")
    match part.get("type"):
        case "text" if isinstance(content, str):
            return Part(content)
        case "reasoning" | "thinking" if isinstance(content, str):
            return Part(content, "thinks")
        case "tool_call":
            return Part(_shown(part.get("arguments")), f"calls {part.get('name') or 'a tool'}")
        case "tool_call_response":
            return Part(_shown(part.get("response", part.get("result"))), "answer of the tool")
        case kind:
            return Part(_shown(part), str(kind or "part"))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
