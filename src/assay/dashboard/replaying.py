"""A call as something to paste elsewhere: curl, Python, or the JSON that the API gives."""

from __future__ import annotations

import json
import shlex
from typing import Any

from assay.dashboard.data import Answer
from assay.dashboard.transcript import turns

LANGUAGES = {"curl": "bash", "Python": "python", "JSON": "json"}
"""The forms, each with the name of its language."""

URL = "https://api.openai.com/v1/chat/completions"


def replayed(call: Answer, form: str) -> str:
    """The same request again in the Chat Completions form (texts only: no tools, no media), or the call as JSON."""
    if form == "JSON":
        return json.dumps(call, ensure_ascii=False, indent=2)
    body = _body(call)
    if form == "curl":
        sent = shlex.quote(json.dumps(body, ensure_ascii=False, indent=2))
        return (
            f"curl {URL} \\\n  -H 'Content-Type: application/json' \\\n"
            f'  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -d {sent}'
        )
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    return f"import openai\n\nopenai.OpenAI().chat.completions.create(\n{arguments})\n"


def _body(call: Answer) -> dict[str, Any]:
    said = turns({**call, "messages_out": "", "response": ""})
    given = {
        "model": call["request_model"] or call["model"],
        "messages": [
            {"role": turn.role, "content": "\n".join(part.text for part in turn.parts)} for turn in said if turn.parts
        ],
        "temperature": call["temperature"],
        "top_p": call["top_p"],
        "max_tokens": call["max_tokens"],
    }
    return {name: value for name, value in given.items() if value is not None}
