"""Every page with hostile text in every field, and the pages that a reader goes between: Overview, Sessions, Alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from assay.client.monitor import Monitor, connect
from assay.dashboard import figures
from assay.dashboard.app import PLACES, Place
from assay.dashboard.inert import one_line
from assay.dashboard.views.models import LLM_DRIFT, VIEWS
from conftest import Server, chat_attributes, eventually, messages, otlp
from hostile import HOSTILE, Requests, assert_inert, shown_text

RULES = """
defaults = false
[engine]
every = "5s"
delay = "0s"
[[rule]]
name = "slow"
metric = "latency"
above = 1000
window = "30m"
group_by = "user"
severity = "HIGH"
"""
SHOWN_ON = {"", "conversations", "sessions", "questions", "quality", "cost", "alerts", "models", "health"}
"""Pages, by the last part of their addresses, that name a model, prompt, session or group of what is stored."""

SHOP = "shop"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Monitor]]:
    """A server with hostile texts in every field, an incident about one of them, and a project of plain sessions."""
    directory = tmp_path_factory.mktemp("places")
    (directory / "alerts.toml").write_text(RULES)
    server = Server(directory).start()
    server.post(otlp(*(_hostile(attack) for attack in HOSTILE), project=HOSTILE[1])).raise_for_status()
    server.post(otlp(*_slow(), project=HOSTILE[0])).raise_for_status()
    server.post(otlp(*_session(), project=SHOP)).raise_for_status()
    for path, body in _predicted().items():
        httpx.post(f"{server.url}/api/{path}", json=body, timeout=30).raise_for_status()
    with connect(server.url) as monitor:
        eventually(lambda: monitor.quality()["scores"].get("relevance", {}).get("n", 0) >= 30, 60)
        for call in monitor.calls(project=HOSTILE[1])["calls"]:
            monitor.score(call["span_id"], "helpfulness", 0.0, comment=HOSTILE[2], author=HOSTILE[1])
            monitor.score(call["span_id"], "thumb", 0, comment=HOSTILE[0], author=HOSTILE[5])
        eventually(lambda: monitor.incidents(phase="firing"), 60)
        yield server, monitor
    server.stop()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.title)
def test_hostile_text_does_nothing_on_any_page(told: tuple[Server, Monitor], page: Page, place: Place) -> None:
    server, _ = told
    asked = Requests(page)

    page.goto(f"{server.url}/{place.url}?refresh=off")
    settled(page)

    if place.url in SHOWN_ON:
        eventually(lambda: any(part in shown_text(page) for part in ("pwned", "evil.example", ":material/home:")))
    assert_inert(page)
    for mark in marks(page):
        page.mouse.move(mark[0], mark[1])
        page.wait_for_timeout(60)
        assert_inert(page)
    for select in page.get_by_test_id("stSelectbox").get_by_role("combobox").all()[:2]:
        select.click()
        page.get_by_role("listbox").wait_for()
        assert_inert(page)
        page.keyboard.press("Escape")
    assert page.get_by_test_id("stException").count() == 0
    assert asked.hosts() == {urlsplit(server.url).netloc}


def test_hostile_text_does_nothing_where_one_thing_is_opened(told: tuple[Server, Monitor], page: Page) -> None:
    server, monitor = told
    asked = Requests(page)
    calls = {call["prompt"]: call for call in monitor.calls(project=HOSTILE[1])["calls"]}
    [incident] = monitor.incidents(phase="firing")
    opened = [
        *(f"conversations?call={call['span_id']}" for call in calls.values()),
        f"sessions?{urlencode({'session': HOSTILE[0]})}",
        f"sessions?{urlencode({'session': HOSTILE[2]})}",
        f"alerts?incident={incident['incident_id']}",
        "alerts?show=Replay&rule=slow&over=1d",
        *(f"models?range=all&view={quote(view)}" for view in (*VIEWS, LLM_DRIFT)),
    ]

    for address in opened:
        page.goto(f"{server.url}/{address}")
        settled(page)
        assert_inert(page)
        assert page.get_by_test_id("stException").count() == 0
    page.goto(f"{server.url}/conversations?call={calls[one_line(HOSTILE[4])]['span_id']}")
    expect(
        page.get_by_test_id("stText").filter(has_text="www.evil.example mail@evil.example &amp;").first
    ).to_be_visible()
    assert asked.hosts() == {urlsplit(server.url).netloc}


@pytest.mark.parametrize(("place", "chart"), [("", 1), ("cost", 0)])
def test_a_click_on_a_bar_shows_the_calls_behind_it_and_the_way_back(
    told: tuple[Server, Monitor], page: Page, place: str, chart: int
) -> None:
    server, monitor = told
    page.goto(f"{server.url}/{place}?refresh=off&range=1h&project={SHOP}")
    settled(page)

    bars = page.get_by_test_id("stVegaLiteChart").nth(chart).locator("path[aria-roledescription=bar]")
    click_largest(page, bars)
    # The controls write their parts of the address once they are drawn.
    page.wait_for_url(lambda url: all(part in url for part in ("/conversations?", "model=", "since=", "until=")))

    address = {name: value[0] for name, value in parse_qs(urlsplit(page.url).query).items()}
    assert address["project"] == SHOP
    assert "range" not in address
    asked = {name: address[name] for name in ("project", "model", "since", "until")}
    behind = monitor.calls(**asked)["calls"]
    assert behind
    expect(cells(page, re.compile("^ok|error$"))).to_have_count(len(behind))

    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    page.wait_for_url(lambda url: f"since={urlencode({'': address['since']})[1:]}" in url)
    page.get_by_test_id("stButton").get_by_role("button", name="–").click()
    expect(page.get_by_role("radio", name="1h")).to_be_checked()


def test_a_click_on_a_bin_of_latencies_shows_the_calls_that_took_so_long(
    told: tuple[Server, Monitor], page: Page
) -> None:
    server, monitor = told
    page.goto(f"{server.url}/?refresh=off&range=all")
    settled(page)
    bins = monitor.latencies()
    most = max(bins, key=lambda one: one["conversations"])

    click_largest(page, page.get_by_test_id("stVegaLiteChart").nth(4).locator("path[aria-roledescription=bar]"))
    page.wait_for_url("**/conversations?**")

    assert f"min_latency_ms={most['from_ms']}" in page.evaluate("location.search")
    expect(cells(page, re.compile("^ok|error$"))).to_have_count(min(most["conversations"], 50))


def test_sessions_are_listed_as_the_api_lists_them_and_one_reads_as_a_thread(
    told: tuple[Server, Monitor], page: Page
) -> None:
    server, monitor = told
    [listed] = monitor.sessions(project=SHOP)["sessions"]

    page.goto(f"{server.url}/sessions?project={SHOP}&refresh=off")
    expect(cells(page, listed["session_id"])).to_have_count(1)
    worst = f"{figures.name(listed['worst']['name'])} {figures.score(listed['worst']['value'])}"
    for figure in (worst, "RateLimitError: slow down", f"{listed['cost_usd']}"):
        expect(cells(page, figure)).to_have_count(1)

    box = page.get_by_test_id("stDataFrame").bounding_box()
    assert box
    page.mouse.click(box["x"] + 18, box["y"] + 35 * 1.5)
    page.wait_for_url("**session=visit-1*")
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("3")
    said = page.get_by_test_id("stChatMessage")
    expect(said).to_have_count(6)  # instructions, two questions with their answers, and the one that failed
    texts = [one.inner_text().strip().splitlines()[-1] for one in said.all()]
    assert texts == ["Be brief.", "Hello?", "Hello!", "How much is it?", "Ten dollars.", "And shipping?"]
    expect(page.get_by_role("alert")).to_contain_text("slow down")
    call = monitor.session("visit-1")["traces"][0]["calls"][0]
    expect(page.get_by_role("link", name="open").first).to_have_attribute(
        "href", f"/conversations?call={call['span_id']}"
    )


def test_an_incident_is_acknowledged_and_silenced_and_its_rule_is_replayed(
    told: tuple[Server, Monitor], page: Page
) -> None:
    server, monitor = told
    [incident] = monitor.incidents(phase="firing")
    page.goto(f"{server.url}/?refresh=off")
    page.get_by_role("link", name="open", exact=True).first.wait_for()

    page.goto(f"{server.url}/alerts")
    expect(page.get_by_text(incident["message"])).to_be_visible()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("acknowledged by somebody")).to_be_visible()
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.get_by_text("Nobody is told")).to_be_visible()
    assert monitor.incident(incident["incident_id"])["acknowledged"]

    page.get_by_role("radio", name="Silences").click()
    page.get_by_role("button", name="End it").click()
    expect(page.get_by_text("No silence is in force.")).to_be_visible()
    assert monitor.silences() == []

    page.get_by_role("radio", name="Replay").click()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    [replayed] = monitor.replay(only=["slow"], since="7d")["rules"]
    expect(page.get_by_text(f"slow · would have fired {replayed['fired']} time")).to_be_visible()

    page.goto(f"{server.url}/alerts?incident={incident['incident_id']}")
    page.get_by_label("Comment").fill("the new prompt is long")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Write down").click()
    expect(cells(page, "the new prompt is long")).to_have_count(1)
    worst = incident["evidence"]["worst_calls"]
    links = page.get_by_role("link", name="open", exact=True)
    expect(links).to_have_count(len(worst))
    expect(links.first).to_have_attribute("href", f"/conversations?call={worst[0]['span_id']}")


def test_the_keyboard_reaches_the_navigation_the_controls_and_what_is_on_the_page(
    told: tuple[Server, Monitor], page: Page
) -> None:
    server, _ = told
    page.goto(f"{server.url}/?refresh=off&project={SHOP}")
    settled(page)

    reached = set[str]()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(e => e.getAttribute('aria-label') || e.textContent.trim())(document.activeElement)")
        )

    for wanted in ("Skip to main content", "Alerts", "24h", "Project", "More", "Refresh"):
        assert any(wanted in one for one in reached), (wanted, reached)


def _hostile(attack: str) -> dict[str, Any]:
    return {
        "attributes": {
            **chat_attributes(attack, f"You are a stupid idiot. {attack}"),
            "gen_ai.request.model": attack,
            "gen_ai.response.model": attack,
            "gen_ai.conversation.id": attack,
            "user.id": attack,
            "error.type": attack,
            "team": attack,
            attack: attack,
        },
        "name": attack,
        "error": attack,
    }


def _predicted() -> dict[str, dict[str, Any]]:
    """Bodies by path: a classical model, its features and classes with hostile names, and what was true."""
    rows = [
        {
            "key": f"{number} {HOSTILE[5]}",
            "model_version": HOSTILE[4],
            "features": {HOSTILE[2]: number, HOSTILE[1]: HOSTILE[number % 4]},
            "prediction": HOSTILE[number % 2],
        }
        for number in range(60)
    ]
    true = [{"key": row["key"], "label": HOSTILE[number % 3]} for number, row in enumerate(rows)]
    named = {"project": HOSTILE[1], "model": HOSTILE[0]}
    return {"predictions": {**named, "rows": rows}, "labels": {**named, "labels": true}}


def _slow() -> list[dict[str, Any]]:
    began = int((datetime.now(UTC).timestamp() - 90) * 1e9)
    answered = chat_attributes(HOSTILE[3], f"You are a stupid idiot. {HOSTILE[3]}")
    named = {"gen_ai.response.model": HOSTILE[2], "user.id": HOSTILE[0]}
    return [
        {"start_ns": began + number, "end_ns": began + 4 * 10**9, "attributes": {**answered, **named}}
        for number in range(30)
    ]


def _session() -> list[dict[str, Any]]:
    system, first, second = ("system", "Be brief."), ("user", "Hello?"), ("user", "How much is it?")
    before = [system, first]
    between = [*before, ("assistant", "Hello!"), second]
    after = [*between, ("assistant", "Ten dollars."), ("user", "And shipping?")]
    began = int((datetime.now(UTC).timestamp() - 60) * 1e9)

    def call(number: int, said: list[tuple[str, str]], answer: str, **more: Any) -> dict[str, Any]:
        parts = ", ".join(messages(**{role: text})[1:-1] for role, text in said)
        told = {"gen_ai.input.messages": f"[{parts}]", "gen_ai.output.messages": messages(assistant=answer)}
        when = {"start_ns": began + number * 10**10, "end_ns": began + number * 10**10 + 10**9}
        return {**told, **when, "gen_ai.conversation.id": "visit-1", **more}

    return [
        call(0, before, "Hello!"),
        call(1, between, "Ten dollars."),
        call(2, after, "", **{"error": "slow down", "error.type": "RateLimitError", "gen_ai.output.messages": ""}),
    ]


def settled(page: Page) -> None:
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


def marks(page: Page) -> list[tuple[float, float]]:
    """Where to hover: the middle of up to three marks of each chart."""
    boxes = [
        mark.bounding_box()
        for chart in page.get_by_test_id("stVegaLiteChart").all()
        for mark in chart.locator("path[aria-roledescription=bar], path[aria-roledescription=point]").all()[:3]
    ]
    return [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes if box]


def click_largest(page: Page, found: Locator) -> None:
    found.first.wait_for(state="attached")
    area = "found => found.map(one => { const r = one.getBoundingClientRect(); return r.width * r.height })"
    areas: list[float] = found.evaluate_all(area)
    largest = found.nth(areas.index(max(areas)))
    largest.scroll_into_view_if_needed()
    box = largest.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def cells(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Cells of the table: a canvas, which holds its cells for screen readers."""
    wanted = re.compile(f"^{re.escape(text)}$") if isinstance(text, str) else text
    return page.get_by_test_id("stDataFrame").locator("td").filter(has_text=wanted)
