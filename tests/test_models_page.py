"""Classical models over HTTP, as commands, in the report and in real Chromium: one set of figures everywhere."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from assay.cli import app
from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, NotFound
from conftest import Server, otlp

HOSTILE = "![x](https://evil.example/i.png) :red[now] <b>"


@pytest.fixture(scope="module")
def forest(server: Server) -> Iterator[tuple[str, Monitor]]:
    """A project with a model whose inputs moved, half of it labelled, and some LLM calls."""
    project, rng = f"models-{secrets.token_hex(4)}", np.random.default_rng(0)
    of = {"model": "churn", "model_version": "1", "project": project}

    def send(size: int, shift: float, *, labelled: int, reference: bool = False) -> None:
        x = rng.normal(shift, 1, size)
        p = 1 / (1 + np.exp(-1.5 * x))
        now = time.time()
        rows = [
            {
                "key": f"{reference}-{i}",
                "predicted_at": now - 3600 + 3000 * i / size,
                "features": {"tenure": x[i], HOSTILE: str(rng.choice(["basic", HOSTILE]))},
                "probabilities": {"leaves": p[i], "stays": 1 - p[i]},
                "latency_ms": 2.0,
            }
            for i in range(size)
        ]
        post(server, "predictions", {**of, "reference": reference, "rows": rows})
        truth = ["leaves" if leaves else "stays" for leaves in rng.random(size) < p]
        told = [{"key": f"{reference}-{i}", "label": truth[i]} for i in range(labelled)]
        post(server, "labels", {"model": "churn", "project": project, "labels": told})

    send(400, 0.0, labelled=400, reference=True)
    send(500, 1.0, labelled=250)
    server.post(otlp(*[{} for _ in range(40)], project=project)).raise_for_status()
    with connect(server.url) as monitor:
        yield project, monitor


def post(server: Server, what: str, body: dict[str, object]) -> None:
    answer = httpx.post(f"{server.url}/api/{what}", json=body, timeout=60)
    answer.raise_for_status()
    assert answer.json()["refused_rows"] == 0, answer.text


def test_the_api_answers_about_one_model_and_says_what_it_does_not_know(forest: tuple[str, Monitor]) -> None:
    project, monitor = forest
    [listed] = monitor.models(project=project)
    assert (listed["rows"], listed["labels"], listed["reference_rows"]) == (500, 650, 400)
    measured = monitor.model_performance("churn", project=project, by="tenure")
    assert (measured["labelled"], len(measured["groups"])) == (250, 4)
    estimated = monitor.model_estimate("churn", project=project)
    assert estimated["learned_from"] == {"what": "labelled reference rows", "n": 400}
    assert estimated["compared"]["n"] == 250
    drifted = monitor.model_drift("churn", project=project)
    assert {one["feature"] for one in drifted["features"] if one["drifted"]} >= {"tenure", "(prediction)"}
    high = monitor.model_performance("churn", project=project, segment="tenure=0.5..")
    assert high["rows"] < 400
    with pytest.raises(NotFound, match="assay models"):
        monitor.model_drift("nobody", project=project)
    with pytest.raises(AssayError, match="did you mean 'segment'"):
        monitor.model_drift("churn", project=project, segmen="x=1")
    with pytest.raises(AssayError, match="choose one of leaves, stays"):
        monitor.model_performance("churn", project=project, positive="perhaps")


def test_the_drift_of_llm_calls_is_told_against_the_period_before(forest: tuple[str, Monitor]) -> None:
    project, monitor = forest
    found = monitor.drift(project=project, since="1h")
    assert (found["before"]["calls"], found["after"]["calls"], found["prompts"]) == (0, 40, None)
    assert {one["size"] for one in found["features"]} == {"unknown"}
    with pytest.raises(AssayError, match="since"):
        monitor.drift(project=project)


def test_the_commands_print_tables_and_the_same_as_json(server: Server, forest: tuple[str, Monitor]) -> None:
    project, monitor = forest

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--url", server.url, "--project", project])
        assert result.exit_code == 0, result.output
        return result.output

    assert "churn" in run("models")
    assert "250 with a label" in run("models", "performance", "churn", "--by", "version")
    assert re.search(r"tenure.*major.*drifted", run("models", "drift", "churn", "--since", "2h"))
    assert "nothing" in run("models", "quality", "churn", "--since", "2h")
    assert "too few to tell" in run("drift", "--since", "2h")
    table = run("compare", "--with-classical", "churn", "--since", "2h")
    assert "Same input, different output" in table
    assert "unknown: no cost was told" in table
    told = json.loads(run("compare", "--with-classical", "churn", "--since", "2h", "--json"))
    assert {aspect["key"] for aspect in told["aspects"]} >= {"input", "determinism", "cost", "latency", "drift"}
    asked = json.loads(run("models", "performance", "churn", "--json"))["measured"]
    assert asked["figures"] == monitor.model_performance("churn", project=project)["figures"]


def test_a_report_compares_both_where_there_is_a_classical_model(forest: tuple[str, Monitor]) -> None:
    project, monitor = forest
    since = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    told = monitor.report("json", project=project, since=since)
    assert [one["model"] for one in told["models"]] == ["churn"]
    text, page = (monitor.report(format, project=project, since=since) for format in ("md", "html"))
    assert "## churn beside the LLM" in text
    assert "tenure: PSI" in text
    assert "beside the LLM" in page
    assert HOSTILE not in text + page


def test_the_page_shows_performance_drift_and_the_comparison(
    server: Server, forest: tuple[str, Monitor], page: Page
) -> None:
    project, monitor = forest

    def go(view: str) -> None:
        asked = {"range": "6h", "refresh": "off", "project": project, "view": view}
        page.goto(f"{server.url}/models?{urlencode(asked)}")

    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    go("Performance")
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("250 with a label")).to_be_visible()
    expect(main.locator("canvas, svg.marks").first).to_be_visible()
    go("Drift")
    drifted = monitor.model_drift("churn", project=project, since="6h")["drifted"]
    expect(main.get_by_text(f"{drifted} of 4 drifted against reference rows")).to_be_visible()
    expect(main.get_by_text("evil.example").first).to_be_visible()
    expect(main.locator("img[src*=evil], a[href*=evil]")).to_have_count(0)
    go("Comparison")
    expect(main.get_by_text(re.compile(r"structured:\S? 1 number and 1 category"))).to_be_visible()
    assert not [url for url in asked_for if "evil" in url]


def test_without_a_classical_model_the_page_shows_how_to_wrap_one(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/models?project=nothing-here&refresh=off")
    expect(page.get_by_text("assay.MonitoredModel")).to_be_visible()
