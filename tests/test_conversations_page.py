"""The page of conversations in real Chromium, and what it is made of."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from assay.client.monitor import Monitor
from assay.dashboard.replaying import replayed
from assay.dashboard.transcript import Part, Turn, turns
from assay.dashboard.waterfall import waterfall
from conftest import Server, chat_attributes, eventually, messages, otlp

CALL: dict[str, Any] = {
    "messages_in": "",
    "messages_out": "",
    "system": "",
    "prompt": "",
    "response": "",
    "model": "gpt-4o-mini-2024-07-18",
    "request_model": "gpt-4o-mini",
    "temperature": 0.5,
    "top_p": None,
    "max_tokens": None,
}


def test_a_page_lists_calls_and_a_click_opens_one_in_full_at_an_address_of_its_own(
    server: Server, monitor: Monitor, page: Page, project: str
) -> None:
    calls = [{"attributes": chat_attributes(f"question {number}", f"answer {number}")} for number in range(60)]
    server.post(otlp(*calls, project=project))
    eventually(lambda: len(monitor.calls(project=project, limit=100)["calls"]) == 60)
    newest = [call["prompt"] for call in monitor.calls(project=project, limit=60)["calls"]]

    page.goto(f"{server.url}/conversations?project={project}")
    expect(cell(page, newest[0])).to_be_attached()
    page.get_by_role("button", name="Further").click()
    expect(cell(page, newest[50])).to_be_attached()
    assert "cursor=" in page.url

    choose(page, 0)
    expect(page.get_by_text(newest[50].replace("question", "answer"), exact=True).first).to_be_visible()
    expect(page.get_by_text("Trace", exact=True).first).to_be_visible()
    opened = monitor.call(page.url.partition("call=")[2].partition("&")[0])
    assert opened["prompt"] == newest[50]
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(newest[51].replace("question", "answer"), exact=True).first).to_be_visible()

    page.get_by_role("button", name="All conversations").click()
    page.get_by_role("textbox", name="Search").fill("question 17")
    page.get_by_role("textbox", name="Search").press("Enter")
    expect(cell(page, "question 17")).to_be_attached()
    expect(cell(page, newest[50])).to_have_count(0)
    assert "cursor=" not in page.url


def test_a_link_opens_a_call_with_its_tools_and_its_trace(
    server: Server, monitor: Monitor, page: Page, project: str
) -> None:
    called = json.dumps(
        [{"role": "assistant", "parts": [{"type": "tool_call", "name": "weather", "arguments": {"at": "Bonn"}}]}]
    )
    span_id = "00000000000000ce"
    server.post(otlp({"span_id": span_id, "gen_ai.output.messages": called}, project=project))
    eventually(lambda: monitor.calls(project=project)["calls"])

    page.goto(f"{server.url}/conversations?call={span_id}")
    expect(page.get_by_text("calls weather")).to_be_visible()
    expect(page.get_by_text('"at": "Bonn"')).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    page.get_by_text("Copy as curl, Python or JSON").click()
    expect(page.get_by_test_id("stCode")).to_contain_text("https://api.openai.com/v1/chat/completions")


def test_an_unknown_call_is_said_to_be_unknown(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/conversations?call=feedfeedfeedfeed")
    expect(page.get_by_test_id("stAlert")).to_contain_text("no span 'feedfeedfeedfeed' is stored")


def test_turns_are_told_from_messages_or_else_from_the_texts() -> None:
    both = {
        **CALL,
        "system": "Be brief.",
        "messages_in": messages(user="Hi"),
        "messages_out": messages(assistant="Yes"),
    }
    assert turns(both) == [
        Turn("system", [Part("Be brief.")]),
        Turn("user", [Part("Hi")]),
        Turn("assistant", [Part("Yes")]),
    ]
    assert turns({**CALL, "prompt": "Hi", "response": "Yes"}) == turns(both)[1:]
    assert turns(CALL) == []


@pytest.mark.parametrize(
    "document", ["[1, null]", '{"a": 1}', "[[[", '[{"role": 3, "parts": 4}]', '[{"parts": [null, {}]}]']
)
def test_messages_in_no_known_form_are_shown_and_break_nothing(document: str) -> None:
    for turn in turns({**CALL, "messages_in": document}):
        assert all(isinstance(part.text, str) and isinstance(part.label, str) for part in turn.parts)
    assert "nothing" not in replayed({**CALL, "messages_in": document}, "curl")


def test_a_call_is_copied_as_a_command_that_a_shell_reads_as_it_was_meant() -> None:
    call = {**CALL, "prompt": 'it\'s $HOME `date` "quoted"\n', "system": "Be 'brief'."}
    words = shlex.split(replayed(call, "curl").replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1])
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be 'brief'."},
            {"role": "user", "content": 'it\'s $HOME `date` "quoted"\n'},
        ],
        "temperature": 0.5,
    }
    compile(replayed(call, "Python"), "copied", "exec")
    assert json.loads(replayed(call, "JSON")) == call


def test_a_trace_is_drawn_below_its_parents_also_where_parents_form_a_ring() -> None:
    def span(name: str, parent: str = "", duplicate_of: str = "") -> dict[str, Any]:
        return {
            "span_id": name,
            "parent_span_id": parent,
            "name": name,
            "kind": "llm",
            "started_at": "2026-11-24T10:00:00Z",
            "latency_ms": 5.0,
            "status": "ok",
            "counted": not duplicate_of,
            "duplicate_of": duplicate_of,
        }

    spans = [
        span("leaf", "root"),
        span("root", "elsewhere"),
        span("a", "b"),
        span("b", "a"),
        span("self", "self", "root"),
    ]
    chart = waterfall(spans, "leaf")
    assert chart is not None
    rows = chart.rows["rows"]
    assert [row["label"].count("·") for row in rows] == [0, 1, 0, 0, 0]
    assert {row["name"] for row in rows} == {"leaf", "root", "a", "b", "self"}
    assert [row["name"] for row in rows if row["counted_elsewhere"]] == ["self"]
    assert waterfall([], "x") is None


def cell(page: Page, text: str) -> Locator:
    """The cell of the table with exactly this text: the table is a canvas, which holds its cells for screen readers."""
    return page.get_by_test_id("stDataFrame").locator("td").filter(has_text=re.compile(f"^{re.escape(text)}$"))


def choose(page: Page, row: int) -> None:
    """Click the box of a row: the table is drawn on a canvas."""
    box = page.get_by_test_id("stDataFrame").bounding_box()
    assert box
    page.mouse.click(box["x"] + 18, box["y"] + 35 * (row + 1.5))
