"""The page in real Chromium, on a real server: what a reader sees is what the API answers, and only shown."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from playwright.sync_api import Locator, Page, expect

import own_scorers
from assay.client.monitor import Monitor
from assay.dashboard import cost_charts, figures
from assay.dashboard.data import Filter
from assay.dashboard.drawing import Chart
from assay.dashboard.inert import JOINER, excerpt, inert, one_line
from assay.dashboard.overview_data import overview
from assay.quality.watch import MOST_FAILURES
from conftest import Server, chat_attributes, eventually, free_port, messages, otlp
from hostile import HOSTILE, MARKUP

HOME_GROWN = {"gen_ai.request.model": "home-grown", "gen_ai.response.model": "home-grown"}
"""A model without a price."""


def test_the_headline_figures_are_those_of_the_api(server: Server, monitor: Monitor, page: Page, project: str) -> None:
    calls = [
        {},
        {},
        {"gen_ai.response.model": "gpt-4o-2024-08-06"},
        HOME_GROWN,
        {"error": "Rate limit reached", "error.type": "RateLimitError"},
    ]
    server.post(otlp(*calls, project=project))
    eventually(lambda: monitor.quality(project=project)["scores"].get("relevance", {}).get("n") == 4)

    page.goto(link(server, project))

    usage, quality = monitor.usage(project=project), monitor.quality(project=project)["scores"]
    assert headline(page) == {
        "Total conversations": f"{usage['total_conversations']}",
        "Total cost": f"${usage['total_cost_usd']:.4f}",
        "Average latency": f"{usage['avg_latency_ms']:.0f} ms",
        "Average relevance": f"{quality['relevance']['mean']:.3f}",
    }
    tokens = f"{usage['total_tokens']:,} tokens"
    assert qualifiers(page) == [tokens, "1 unpriced", "p95 800 ms", "4 scored", "1 error"]
    expect(page.get_by_test_id("stMetricValue").nth(4)).to_have_text("20.0 %")
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(5)


def test_what_is_unknown_is_a_dash(server: Server, monitor: Monitor, page: Page, project: str) -> None:
    call = {**HOME_GROWN, "gen_ai.output.messages": messages(assistant="")}
    server.post(otlp(call, project=project))
    eventually(lambda: "relevance" in monitor.quality(project=project)["scores"])

    page.goto(link(server, project))

    assert headline(page)["Total cost"] == "–"
    assert headline(page)["Average relevance"] == "–"


def test_an_opened_conversation_shows_texts_scores_with_reasons_and_facts(
    server: Server, monitor: Monitor, page: Page, project: str
) -> None:
    span_id = "00000000000000aa"
    server.post(otlp({"span_id": span_id, "gen_ai.conversation.id": "user_007"}, project=project))
    eventually(lambda: "relevance" in monitor.call(span_id)["scores"])
    monitor.score(span_id, "helpfulness", 1.0, comment="just *right*", author="Ada")

    page.goto(link(server, project))
    conversation = opened(page, 0)

    expect(conversation).to_contain_text("Helpfulness (Ada)")
    eventually(lambda: "status ok" in text(conversation))  # what is drawn last
    shown = text(conversation)
    assert "What is machine learning?" in shown
    assert "A way to learn from data." in shown
    assert "just *right*" in shown
    for verdict in monitor.call(span_id)["verdicts"]:
        assert figures.score(verdict["value"]) in shown
        assert excerpt(verdict["comment"], 200) in shown
    for fact in ("tokens 1,500 (1,000 in, 500 out)", "session user_007", "latency 800 ms", "cost $0.0004", "status ok"):
        assert fact in shown


def test_a_thumb_is_stored_with_comment_and_name_and_each_reader_gives_their_own(
    server: Server, monitor: Monitor, page: Page, project: str
) -> None:
    span_id = secrets.token_hex(8)
    server.post(otlp({"span_id": span_id}, project=project))
    eventually(lambda: "relevance" in monitor.call(span_id)["scores"])
    page.goto(link(server, project))
    conversation = opened(page, 0)

    def given() -> list[tuple[str, float, str]]:
        verdicts = monitor.call(span_id)["verdicts"]
        thumbs = [verdict for verdict in verdicts if verdict["name"] == "thumb" and verdict["source"] == "human"]
        return sorted((thumb["author"], thumb["value"], thumb["comment"]) for thumb in thumbs)

    # Events and no clicks: what is still unfolding moves away between a press and its release.
    conversation.get_by_role("radio", name="Thumbs up").dispatch_event("click")
    eventually(lambda: given() == [("", 1.0, "")])
    expect(conversation.get_by_text("somebody")).to_be_visible()
    expect(conversation.get_by_role("radio", name="Thumbs up")).to_be_checked()
    conversation.get_by_label("Your name").fill(HOSTILE[1])
    conversation.get_by_label("Your name").press("Enter")
    # Another name has thumbs of its own, none given yet: only then is the page drawn anew.
    expect(conversation.get_by_role("radio", name="Thumbs up")).not_to_be_checked()
    conversation.get_by_role("radio", name="Thumbs down").dispatch_event("click")
    eventually(lambda: len(given()) == 2)
    # While it is drawn, what was there before is still in its place.
    expect(conversation.get_by_label("Comment")).to_have_count(1)
    conversation.get_by_label("Comment").fill(HOSTILE[0])
    conversation.get_by_label("Comment").press("Enter")

    eventually(lambda: given() == [("", 1.0, ""), (HOSTILE[1], 0.0, HOSTILE[0])])
    expect(conversation).to_contain_text("window.pwned=1")
    assert HOSTILE[1] in text(conversation)
    assert page.evaluate("window.pwned") is None
    shown = conversation.get_by_test_id("stMarkdownContainer")
    assert shown.locator(MARKUP).count() == 0
    expect(shown.locator("[role=img]")).to_have_count(2)  # the icons of the two thumbs, nothing of what was written


def test_a_failed_call_shows_its_error(server: Server, page: Page, project: str) -> None:
    server.post(otlp({"error": "Rate limit reached for *requests*", "error.type": "RateLimitError"}, project=project))

    page.goto(link(server, project))
    conversation = opened(page, 0)

    expect(conversation.get_by_test_id("stAlert")).to_be_visible()
    assert "failed" in text(conversation.locator("summary"))
    assert "RateLimitError" in text(conversation)
    assert "Rate limit reached for *requests*" in text(conversation)


def test_alerts_are_shown_by_severity_with_prompt(server: Server, monitor: Monitor, page: Page, project: str) -> None:
    insult = chat_attributes("How are you?", "You are a stupid idiot and I hate you.")
    server.post(otlp({"attributes": insult}, {"start_ns": ns_ago(9), "end_ns": ns_ago(4)}, project=project))
    eventually(lambda: monitor.quality(project=project)["scores"].get("toxicity", {}).get("n") == 2)

    page.goto(link(server, project))

    headline(page)
    shown = text(page.locator("body"))
    for alert in monitor.alerts(project=project):
        assert alert["message"] in shown
    assert {"HIGH_TOXICITY", "HIGH_LATENCY"} <= {alert["type"] for alert in monitor.alerts(project=project)}
    assert shown.index("High toxicity") < shown.index("High latency")
    assert "All within limits" not in shown


def test_an_empty_store_explains_the_first_call_and_shows_it_once_it_comes(
    own_server: Callable[..., Server], page: Page
) -> None:
    server = own_server()
    page.goto(server.url)
    expect(page.get_by_test_id("stCode")).to_contain_text(f'assay.init("{server.url}")')

    server.post(otlp({}))

    assert headline(page)["Total conversations"] == "1"
    expect(page.get_by_test_id("stToast")).to_contain_text("The first call is here.")
    page.get_by_test_id("stCode").wait_for(state="detached")


def test_a_refresh_shows_what_is_new_and_leaves_an_opened_conversation_open(
    server: Server, page: Page, project: str
) -> None:
    server.post(otlp({}, project=project))
    page.goto(link(server, project, refresh="5 s"))
    assert headline(page)["Total conversations"] == "1"
    expect(opened(page, 0)).to_contain_text("A way to learn from data.")

    server.post(otlp({"attributes": chat_attributes("And then?", "Then you wait.")}, project=project))

    expect(page.get_by_test_id("stMetricValue").first).to_have_text("2")
    expect(page.get_by_test_id("stExpander").nth(1)).to_contain_text("A way to learn from data.")


def test_a_link_keeps_what_was_chosen(server: Server, page: Page, project: str) -> None:
    server.post(otlp({}, {}, {"gen_ai.response.model": "gpt-4o"}, project=project))

    page.goto(link(server, project, range="1h", model="gpt-4o"))
    assert headline(page)["Total conversations"] == "1"
    page.get_by_role("radio", name="7d").click()
    page.wait_for_url("**range=7d*")

    assert {"range=7d", "model=gpt-4o", f"project={project}"} <= set(urlsplit(page.url).query.split("&"))


def test_a_filter_without_calls_says_so(server: Server, page: Page, project: str) -> None:
    server.post(otlp({}, project=project))

    page.goto(link(server, project, model="never used", range="15m"))

    expect(page.get_by_test_id("stAlert")).to_contain_text("No conversation in the last 15m")


def test_an_unreachable_api_is_a_sentence_and_no_traceback(tmp_path: Path, page: Page) -> None:
    port, nobody = free_port(), f"http://127.0.0.1:{free_port()}"
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit/secrets.toml").write_text(f'assay_url = "{nobody}"\nassay_key = ""\n')
    script = str(files("assay.dashboard") / "app.py")
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        script,
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"))
            page.goto(f"http://127.0.0.1:{port}")
            expect(page.get_by_test_id("stAlert")).to_contain_text("no Assay answers at")
            assert page.get_by_test_id("stException").count() == 0
            assert "Traceback" not in text(page.locator("body"))
        finally:
            process.terminate()


def test_a_refresh_asks_few_questions(server: Server, project: str) -> None:
    server.post(otlp({}, {}, project=project))
    asked: list[str] = []
    client = httpx.Client(
        base_url=f"{server.url}/api", event_hooks={"request": [lambda request: asked.append(request.url.path)]}
    )
    with Monitor(client) as monitor, overview(monitor, Filter(project=project)) as found:
        assert found.usage["total_calls"] == 2
        assert found.troubles == []
        assert found.compared["changes"]
    assert len(asked) <= 9, asked


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("1. one")
@example("# h")
@example("    code")
@example("a\n\n- b")
def test_inert_markdown_is_one_paragraph_of_plain_text(given_text: str) -> None:
    blocks = MarkdownIt("commonmark").enable(["strikethrough", "table"]).parse(inert(given_text))

    inline = [block for block in blocks if block.type == "inline"]
    assert [block.type for block in blocks] in ([], ["paragraph_open", "inline", "paragraph_close"])
    assert {child.type for block in inline for child in block.children or []} <= {"text", "text_special"}
    shown = "".join(child.content for block in inline for child in block.children or [])
    assert shown.replace(JOINER, "") == one_line(given_text).replace(JOINER, "")


@pytest.mark.parametrize(
    "attack", [":streamlit:", ":material/home:", ":smile:", "https://e.example", "WWW.e.example", "a@b.example"]
)
def test_inert_parts_what_is_replaced_after_escapes_are_gone(attack: str) -> None:
    assert attack not in inert(attack).replace("\\", "")


def test_figures_keep_unknown_apart_from_zero() -> None:
    assert [figures.dollars(amount) for amount in (None, 0, 0.0000123, 0.0123, 1234.5)] == [
        "–",
        "$0.00",
        "$0.000012",
        "$0.0123",
        "$1,234.50",
    ]
    assert [figures.milliseconds(ms) for ms in (None, 0, 999, 999.6, 1874, 12_345)] == [
        "–",
        "0 ms",
        "999 ms",
        "1.00 s",
        "1.87 s",
        "12.3 s",
    ]
    assert [figures.score(value) for value in (None, 0.0, 0.7306)] == ["–", "0.000", "0.731"]


def test_a_time_is_that_of_the_readers_clock() -> None:
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert figures.clock("2026-11-23T11:59:58.5Z", "Asia/Tokyo", now) == "20:59:58"
    assert figures.clock("2026-11-22T11:59:58Z", "nowhere/at all", now) == "22 Nov 11:59:58"


def test_models_beyond_the_palette_are_taken_together_and_no_cost_is_lost() -> None:
    points = [
        {"bucket": "2026-11-23T12:00:00Z", "group": f"model-{number:02}", "cost_usd": number / 100, "calls": 1}
        for number in range(1, 21)
    ]
    chart = cost_charts.cost_bars(points, 60, "model", "Model")

    assert chart is not None
    rows = chart.rows["rows"]
    assert sum(row["cost"] for row in rows) == pytest.approx(2.1)
    assert sum(row["calls"] for row in rows) == 20
    models = {f"model-{number}" for number in range(14, 21)}
    assert {row["name"] for row in rows} == models | {cost_charts.OTHERS}
    assert {row["model"] for row in rows} == models | {None}, "a click on the others asks for no model of that name"
    assert all(row["end"] - row["time"] < timedelta(seconds=60) for row in rows)


def test_a_chart_of_other_calls_is_drawn_by_the_same_specification_which_holds_none_of_them() -> None:
    def drawn(minute: int, model: str, cost: float) -> Chart:
        point = {"bucket": f"2026-11-23T12:{minute:02}:00Z", "group": model, "cost_usd": cost, "calls": 7}
        chart = cost_charts.cost_bars([point], 60, "model", "Model")
        assert chart is not None
        return chart

    first, second, other = drawn(0, "a", 0.25), drawn(1, "a", 0.5), drawn(0, "b", 0.25)

    assert first.specification is second.specification
    assert first.specification["data"] == {"name": "rows"}
    assert first.specification != other.specification, "which models there are is part of a chart's shape"
    assert [row["cost"] for row in second.rows["rows"]] == [0.5]


def link(server: Server, project: str, **chosen: str) -> str:
    return f"{server.url}/?{urlencode({'project': project, 'refresh': 'off', **chosen})}"


def headline(page: Page) -> dict[str, str]:
    metrics = page.get_by_test_id("stMetric")
    metrics.nth(3).wait_for()
    values = [text(value) for value in page.get_by_test_id("stMetricValue").all()[:4]]
    return dict(zip([text(label) for label in page.get_by_test_id("stMetricLabel").all()[:4]], values, strict=True))


def qualifiers(page: Page) -> list[str]:
    return [text(delta) for delta in page.get_by_test_id("stMetricDelta").all()]


def opened(page: Page, number: int) -> Locator:
    conversation = page.get_by_test_id("stExpander").nth(number)
    # An event and no click: that would wait until the one opened before has stopped moving.
    conversation.locator("summary").dispatch_event("click")
    conversation.get_by_test_id("stText").first.wait_for()
    return conversation


def text(locator: Locator) -> str:
    return locator.inner_text().replace(JOINER, "").strip()


def ns_ago(seconds: float) -> int:
    return int((datetime.now(UTC).timestamp() - seconds) * 1e9)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_does_not_work_in_scoring_is_told_on_the_page(own_server: Callable[..., Server], page: Page) -> None:
    server = own_server(Path(own_scorers.__file__), ASSAY_QUALITY__CUSTOM="own_scorers,not_there")
    server.post(otlp(*[{"attributes": chat_attributes(response="raise")}] * MOST_FAILURES)).raise_for_status()
    page.goto(server.url)
    warning = page.get_by_role("alert")
    expect(warning).to_contain_text("Not everything in Assay works")
    expect(warning).to_contain_text("module 'not_there' cannot be loaded")
    expect(warning).to_contain_text("temper is not scored for now, it failed again and again")
    expect(page.get_by_text("Total conversations")).to_be_visible()


def test_the_health_page_tells_what_the_doctor_finds_and_the_way_back_keeps_the_filters(
    server: Server, monitor: Monitor, page: Page, project: str
) -> None:
    server.post(otlp(HOME_GROWN, project=project))
    eventually(lambda: monitor.usage(project=project)["total_calls"])
    page.goto(link(server, project, range="6h"))
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("1")

    page.get_by_role("link", name="Health").click()
    expect(page.get_by_text("calls to home-grown have no price")).to_be_visible()
    assert page.get_by_role("radio", name="6h").count() == 0

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("1")
    expect(page.get_by_role("radio", name="6h")).to_be_checked()
    assert f"project={project}" in page.url
