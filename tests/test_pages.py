"""The Quality, Cost, Questions, SQL and export pages in real Chromium: their figures are those of the API."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from typer.testing import CliRunner

from assay.cli import app
from assay.client.monitor import Monitor, connect
from assay.dashboard import cost_charts, export_panel, figures, score_charts
from conftest import Server, chat_attributes, eventually, otlp

HOSTILE = "![x](https://evil.example/i.png) <img src=x onerror=alert(1)> [l](https://evil.example)"
KINDS = {
    "refund": "How do I get a refund for order {}?",
    "heating": "Why does my heating not turn down when I leave the house number {}?",
}
BUDGET = """
[[budget]]
name = "the whole"
amount_usd = 0.001
"""


@pytest.fixture(scope="module")
def shop(server: Server) -> Iterator[tuple[str, Monitor]]:
    """A project with calls of two kinds, two priced models and one without a price, two users; scored and grouped."""
    project = f"pages-{secrets.token_hex(4)}"
    calls = [
        {
            **chat_attributes(KINDS[kind].format(number), f"You get the money back for {number}, or it stays warm."),
            "gen_ai.response.model": model,
            "gen_ai.request.model": model,
            "user.id": f"user-{number % 2}",
            "session.id": f"session-{number % 7}",
        }
        for number in range(30)
        for kind, model in zip(KINDS, ("gpt-4o-mini", "gpt-4o" if number % 3 else "home-grown"), strict=True)
    ]
    hostile = chat_attributes(HOSTILE, HOSTILE)
    server.post(otlp(*[{"attributes": call} for call in [*calls, hostile]], project=project)).raise_for_status()
    with connect(server.url) as monitor:
        eventually(lambda: monitor.quality(project=project)["scores"].get("relevance", {}).get("n", 0) >= 61)
        monitor.refit_groups(project)
        eventually(lambda: len(monitor.groups(project=project)["groups"]) >= 2)
        yield project, monitor


def test_the_quality_page_tells_what_the_api_does(server: Server, shop: tuple[str, Monitor], page: Page) -> None:
    project, monitor = shop
    outside = strangers(page, server)
    page.goto(address(server, "quality", project=project, score="Coherence"))
    found = monitor.quality(project=project)["scores"]
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("Worst conversations")).to_be_visible()
    for name in ("relevance", "coherence", "toxicity"):
        tile = main.get_by_text(re.compile(f"^{figures.name(name)}\\s*{figures.score(found[name]['mean'])}"))
        expect(tile.first).to_contain_text(score_charts.likely(found[name]["low"], found[name]["high"]))
    expect(main.get_by_text(f"Half are below {found['coherence']['p50']:.3f}")).to_be_visible()
    worst = monitor.worst("coherence", project=project)
    assert worst == sorted(worst, key=lambda call: call["value"])
    assert worst[0]["value"] == found["coherence"]["min"]
    assert float(row(page, 0, worst[0]["prompt"])[0]) == pytest.approx(worst[0]["value"])
    [judge] = next(one for one in monitor.distribution(project=project) if one["name"] == "coherence")["judges"]
    expect(cell(page, judge["version"], table=1)).to_be_attached()
    expect(page.get_by_text("no failure since the start")).to_be_visible()

    page.get_by_role("radio", name="Prompt toxicity").click()
    expect(main.get_by_text(f"Half are below {found['prompt_toxicity']['p50']:.3f}")).to_be_visible()
    assert "score=Prompt" in page.url
    choose(page, "By", "Kind of question")
    expect(main.get_by_text("By kind of question")).to_be_visible()
    assert "score_by=Kind" in page.url
    page.get_by_text("Consistency: does the same").click()
    expect(page.get_by_text("No prompt was asked more than once")).to_be_visible()
    worst = monitor.worst("prompt_toxicity", project=project)
    tick(page, 0)
    expect(page).to_have_url(re.compile(f"/conversations.*call={worst[0]['span_id']}"))
    assert outside == []


def test_the_cost_page_tells_what_the_api_does(server: Server, shop: tuple[str, Monitor], page: Page) -> None:
    project, monitor = shop
    asked = {"cost_by": "User", "as_model": "gpt-4.1-mini"}
    page.goto(address(server, "cost", project=project, **asked))
    costs = monitor.costs(project=project, group_by="user_id")
    values = page.get_by_test_id("stMetricValue")
    expect(values.nth(3)).to_be_visible()
    wanted = [figures.dollars(costs[f"{part}cost_usd"]) for part in ("", "input_", "output_")]
    assert [value.inner_text().replace("\u2060", "") for value in values.all()] == [*wanted, figures.UNKNOWN]
    expect(page.get_by_text("10 unpriced")).to_be_visible()
    for group in costs["groups"]:
        if group["group"]:
            shown = row(page, 0, group["group"])
            figure_of = [group[name] for name in ("cost_usd", "share", "input_cost_usd", "output_cost_usd")]
            assert [float(text) for text in shown[2:6]] == pytest.approx(figure_of)
            assert shown[-2:] == [str(group["calls"]), str(group["unpriced"])]
    expect(page.get_by_text("home-grown of openai: 10 calls")).to_be_visible()
    expect(page.get_by_text('[prices."home-grown"]')).to_be_visible()
    expect(page.get_by_text("None is set. Add one to assay.toml")).to_be_visible()

    [priced] = monitor.what_if("gpt-4.1-mini", project=project)["models"]
    assert (priced["calls"], priced["only_then"]) == (51, 10)
    shown = [float(text) for text in row(page, -1, "gpt-4.1-mini")[1:]]
    figure_of = [priced[name] for name in ("calls", "now_usd", "then_usd", "difference_usd", "ratio")]
    assert shown == pytest.approx([*figure_of, 10])
    expect(page.get_by_text("The same number of tokens")).to_be_visible()
    choose(page, "By", "Model")
    expect(cell(page, "home-grown", table=0)).to_be_attached()
    assert "cost_by" not in page.url


def test_the_questions_page_lists_kinds_and_opens_one(server: Server, shop: tuple[str, Monitor], page: Page) -> None:
    project, monitor = shop
    page.goto(address(server, "questions", project=project))
    found = monitor.groups(project=project)["groups"]
    for kind in found:
        assert float(row(page, 0, kind["name"])[3]) == pytest.approx(kind["cost_usd"])
    tick(page, 0)
    told = monitor.group(found[0]["id"], project=project)
    expect(page.get_by_role("link", name="Its conversations")).to_be_visible()
    expect(cell(page, told["templates"][0]["template"], table=1)).to_be_attached()


def test_the_sql_page_answers_and_refuses(server: Server, shop: tuple[str, Monitor], page: Page) -> None:
    project, monitor = shop
    outside = strangers(page, server)
    query = (
        "SELECT model, count() AS calls, max(prompt) AS said FROM calls "
        f"WHERE project = '{project}' GROUP BY model ORDER BY calls DESC, model"
    )
    page.goto(f"{server.url}/sql")
    editor = page.get_by_label("Query")
    editor.fill(query)
    editor.press("Control+Enter")
    rows = monitor.sql(query)["rows"]
    expect(page.get_by_text(f"{len(rows)} rows")).to_be_visible()
    for model, calls, said in rows:
        assert row(page, 0, model) == [model, str(calls), said]
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert Path(download.value.path()).read_text().splitlines()[0] == "model,calls,said"

    editor.fill("SELECT name FROM system.tables")
    editor.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("system.tables")
    assert outside == []


def test_an_export_is_the_file_of_the_api_and_of_the_command(
    server: Server, shop: tuple[str, Monitor], page: Page, tmp_path: Path
) -> None:
    project, monitor = shop
    page.goto(address(server, "reports", project=project, model="gpt-4o", format="JSON Lines, for programs"))
    button = page.get_by_role("link", name="Download 20 calls")
    expect(button).to_be_visible()
    with page.expect_download() as download:
        button.click()
    monitor.export(tmp_path / "api.jsonl", "jsonl", columns="calls", project=project, model="gpt-4o")
    expected = (tmp_path / "api.jsonl").read_bytes()
    assert Path(download.value.path()).read_bytes() == expected
    assert expected.count(b"\n") == 20

    words = shlex.split(page.get_by_test_id("stCode").filter(has_text="assay export").inner_text())
    written = str(tmp_path / "command.jsonl")
    arguments = [written if word == "calls.jsonl" else word for word in words[1:]]
    assert CliRunner().invoke(app, [*arguments, "--url", server.url]).exit_code == 0
    assert Path(written).read_bytes() == expected


def test_where_keys_are_set_the_page_exports_without_telling_one(
    own_server: Callable[..., Server], browser: Any, tmp_path: Path
) -> None:
    (tmp_path / "assay.toml").write_text(BUDGET)
    key = f"key-{secrets.token_hex(8)}"
    server = own_server(tmp_path / "assay.toml", ASSAY_API_KEYS=key, ASSAY_QUALITY__SCORERS="off")
    server.post(otlp({}, {}, {}), **{"x-api-key": key}).raise_for_status()
    started: Browser = browser.browser
    context = started.new_context(http_credentials={"username": "me", "password": key})
    page = context.new_page()
    page.goto(f"{server.url}/reports?refresh=off")
    button = page.get_by_role("link", name="Download 3 calls")
    expect(button).to_be_visible()
    assert key not in page.content()
    assert key not in (button.get_attribute("href") or "")
    with page.expect_download() as download:
        button.click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 4
    assert httpx.get(f"{server.url}/api/export").status_code == 401

    page.goto(f"{server.url}/cost?refresh=off")
    with connect(server.url, api_key=key) as monitor:
        [budget] = monitor.budgets()
    assert budget["state"] == "exceeded"
    expect(page.get_by_text("spent (135%), exceeded since")).to_be_visible()
    context.close()


def test_budgets_are_drawn_in_parts_of_their_amount() -> None:
    budget = {"name": "b", "per": "", "value": "", "amount_usd": 10.0, "spent_usd": 4.0, "share": 0.4}
    known = budget | {"forecast_usd": 12.0, "low": 9.0, "high": 15.0, "chance": 0.9, "state": "at risk"}
    young = budget | {"forecast_usd": 5.0, "low": None, "high": None, "chance": None, "state": "ok"}
    rows = cost_charts.budget_bars([known, young | {"name": "young"}]).rows["rows"]
    assert [(row["share"], row["forecast"], row["low"], row["high"]) for row in rows[:1]] == [(0.4, 1.2, 0.9, 1.5)]
    assert rows[1]["likely"].startswith("unknown")
    unpriced = {"bucket": "2026-11-25T00:00:00Z", "group": "a", "cost_usd": None}
    assert cost_charts.cost_bars([unpriced], 60, "model", "Model") is None


def test_a_command_holds_what_was_chosen_whatever_it_is_called() -> None:
    asked = {"since": "24h", "project": "it's $HOME; rm -rf *", "user_id": "-x"}
    words = shlex.split(export_panel.command(asked, "csv", "calls"))
    assert words[-3:] == ["--since=24h", "--project=it's $HOME; rm -rf *", "--user=-x"]
    assert "project=it%27s+%24HOME" in export_panel.address(asked, "csv", "calls")


def address(server: Server, place: str, **chosen: str) -> str:
    return f"{server.url}/{place}?{urlencode({'refresh': 'off', 'range': '24h', **chosen})}"


def strangers(page: Page, server: Server) -> list[str]:
    """Requests of the page to anywhere else than its server, filled while it is looked at."""
    found: list[str] = []
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else found.append(request.url))
    return found


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def tick(page: Page, table: int) -> None:
    """Choose the first row of a table: it is drawn on a canvas."""
    drawn = page.get_by_test_id("stDataFrame").nth(table)
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    assert box
    page.mouse.click(box["x"] + 18, box["y"] + 35 * 1.5)


def row(page: Page, table: int, text: str) -> list[str]:
    """The texts of all cells in the row that has a cell with this one."""
    found = cell(page, text, table).first
    expect(found).to_be_attached()
    return found.locator("xpath=..").locator("td").all_inner_texts()


def cell(page: Page, text: str, table: int) -> Locator:
    """Cells of a table with exactly this text: it is a canvas, which holds its cells for screen readers."""
    cells = page.get_by_test_id("stDataFrame").nth(table).locator("td")
    return cells.filter(has_text=re.compile(f"^{re.escape(text)}$"))
