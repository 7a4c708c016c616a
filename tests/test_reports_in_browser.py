"""Reports in real Chromium: the page runs and loads nothing, prints whole, and the dashboard shows and hands it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from assay.client.monitor import Monitor
from conftest import Server, chat_attributes, eventually, otlp
from test_dashboard import HOSTILE


@pytest.fixture
def told(server: Server, monitor: Monitor, project: str) -> dict[str, Any]:
    """Calls with hostile texts, scored, and what the API says of them."""
    server.post(otlp(*[{"attributes": chat_attributes(text, text)} for text in HOSTILE], project=project))
    eventually(lambda: "relevance" in monitor.quality(project=project)["scores"])
    return monitor.usage(project=project)


def test_a_report_runs_and_loads_nothing_and_prints_without_a_cut_chart(
    monitor: Monitor, page: Page, told: dict[str, Any], project: str, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(monitor.report("html", project=project))
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert said == []
    assert page.evaluate("window.pwned") is None
    assert page.locator("article img, article script, article a:not([href*='/conversations?call='])").count() == 0
    expect(page.locator('[data-key="usage.total_conversations"]')).to_have_text(str(told["total_conversations"]))
    expect(page.get_by_role("img", name="Mean scores over time")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nor on a telephone"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")


def test_the_page_shows_the_report_in_a_frame_that_runs_nothing_and_hands_it_out(
    server: Server, page: Page, told: dict[str, Any], project: str, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/reports?project={project}&range=1h")
    frame = page.frame_locator('iframe[title="The report"]').locator("iframe")
    expect(frame).to_have_attribute("sandbox", "")
    shown = frame.content_frame.locator('[data-key="usage.total_conversations"]')
    expect(shown).to_have_text(str(told["total_conversations"]))
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML").click()
    download.value.save_as(tmp_path / "got.html")
    assert download.value.suggested_filename.startswith("assay-report-")
    assert f'data-key="usage.total_conversations">{told["total_conversations"]}<' in (tmp_path / "got.html").read_text()
    expect(page.get_by_text("None: add a table [[report]] to assay.toml")).to_be_visible()

    around = page.frame_locator('iframe[title="The report"]').locator("body")
    around.evaluate("window.first = true")
    choice = page.get_by_role("combobox", name="Format", exact=True)
    choice.focus()
    choice.press("ArrowDown")
    page.get_by_role("option", name="JSON Lines").click()
    expect(page.get_by_test_id("stCode")).to_contain_text("calls.jsonl")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    assert around.evaluate("window.first"), "the report is the same"
