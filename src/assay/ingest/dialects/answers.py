"""What a whole answer tells besides its texts: its id and its model.

In: an answer of a provider's API, or one that a framework made of it (LangChain, OpenAI Agents), as data.
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import text, within

NO_ID = "__fake_id__"
"""What the OpenAI Agents SDK writes where an API gave no id."""


def response_id(answer: Any) -> str:
    """The provider's id of an answer, "" where there is none."""
    return _told(answer, ("id",), ("response_id",))


def response_model(answer: Any) -> str:
    """The model that answered, "" where that is not said."""
    return _told(answer, ("model",), ("model", "model_name"))


def _told(answer: Any, own: tuple[str, ...], passed_on: tuple[str, ...]) -> str:
    response = _first(answer)
    generation = _first(response.get("generations"))
    metadata = within(within(within(generation, "message"), "kwargs"), "response_metadata")
    within_item = within(_first(response.get("output")), "provider_data")
    candidates = (
        *((response, own), (within(response, "llm_output"), own + passed_on), (metadata, own + passed_on)),
        *((within(generation, "generation_info"), passed_on), (within_item, passed_on)),
    )
    found = (text(data, *names) for data, names in candidates)
    return next((value for value in found if value and value != NO_ID), "")


def _first(value: Any) -> dict[str, Any]:
    """The first object of lists of lists."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}
