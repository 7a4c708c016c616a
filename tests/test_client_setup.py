"""assay.init: once a process, so each test is a small program of its own that prints what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from assay.client.address import address
from assay.client.monitor import Monitor, connect
from assay.client.setup import _one_each
from conftest import Server, free_port

CALL = """
import openai
client = openai.OpenAI(base_url={url!r}, api_key="simulated")
client.chat.completions.create(model="gpt-4o-mini", messages=[{{"role": "user", "content": "What is 2+2?"}}])
"""


def program(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program, which must end well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, "ASSAY_SPOOL_MB": "0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def calls(monitor: Monitor, project: str) -> list[dict[str, Any]]:
    return monitor.calls(project=project)["calls"]


def test_an_ordinary_client_is_monitored_after_one_line(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    origin = f"service='shop', project={project!r}, environment='staging', release='1.4.2'"
    init = f"import assay; assay.init({server.url!r}, {origin})"
    done = program(init + CALL.format(url=provider_url))
    assert done.stderr == ""
    assert calls(monitor, project) == [
        IsPartialDict(
            service="shop",
            project=project,
            environment="staging",
            attributes=IsPartialDict({"service.version": "1.4.2"}),
            prompt="What is 2+2?",
            model="gpt-4o-mini-2024-07-18",
        )
    ]


def test_init_twice_is_init_once(server: Server, provider_url: str, monitor: Monitor, project: str) -> None:
    init = (
        f"import assay\nassay.init({server.url!r}, project={project!r})\nassay.init('http://127.0.0.1:9', project='x')"
    )
    done = program(init + CALL.format(url=provider_url))
    assert done.stderr == ""
    assert len(calls(monitor, project)) == 1


def test_the_address_may_come_from_the_environment(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    init = f"import assay; assay.init(project={project!r})"
    program(init + CALL.format(url=provider_url), ASSAY_URL=f"{server.url}/")
    assert len(calls(monitor, project)) == 1


def test_the_openai_library_may_be_imported_before(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    program(f"import openai, assay; assay.init({server.url!r}, project={project!r})" + CALL.format(url=provider_url))
    assert len(calls(monitor, project)) == 1


def test_without_instrument_no_library_is_touched(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    init = f"import assay; assay.init({server.url!r}, project={project!r}, instrument=False)"
    program(init + CALL.format(url=provider_url))
    assert calls(monitor, project) == []


def test_a_tracer_provider_that_is_there_is_used_and_keeps_what_it_had(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    script = f"""
import assay
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
own = TracerProvider(resource=Resource.create({{"service.name": "shop", "assay.project": {project!r}}}))
own.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(own)
assay.init({server.url!r}, service="not this one")
assert trace.get_tracer_provider() is own
with assay.session("s1"):
    {CALL.format(url=provider_url).strip().replace(chr(10), chr(10) + "    ")}
print(len(memory.get_finished_spans()))
"""
    assert program(script).stdout.split() == ["1"]
    assert calls(monitor, project) == [IsPartialDict(service="shop", session_id="s1", prompt="What is 2+2?")]


def test_a_choice_that_the_environment_makes_about_texts_is_kept(
    server: Server, provider_url: str, monitor: Monitor, project: str
) -> None:
    init = f"import assay; assay.init({server.url!r}, project={project!r})"
    program(init + CALL.format(url=provider_url), OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="NO_CONTENT")
    assert calls(monitor, project) == [IsPartialDict(prompt="", response="", model="gpt-4o-mini-2024-07-18")]


def test_another_exporter_may_take_the_place_of_ours(provider_url: str) -> None:
    script = f"""
import assay
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
assay.init("http://127.0.0.1:9", exporter=memory)
{CALL.format(url=provider_url)}
assert assay.flush()
print([span.name for span in memory.get_finished_spans()])
"""
    done = program(script)
    assert (done.stdout.strip(), done.stderr) == ("['chat gpt-4o-mini']", "")


def test_the_key_is_sent_with_spans_scores_and_questions(provider_url: str, own_server: Any) -> None:
    guarded = own_server(ASSAY_API_KEYS="first-key,second-key")
    script = f"""
import assay, openai
assay.init({guarded.url!r}, project="guarded", api_key="second-key")
llm = assay.MonitoredLLM(openai.OpenAI(base_url={provider_url!r}, api_key="simulated"), "gpt-4o-mini")
answer = llm.chat_completion("s1", "What is 2+2?")
print(*sorted(answer.quality))
assay.score(answer, "helpfulness", 1)
assert assay.flush()
"""
    done = program(script)
    names = ["coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"]
    assert (done.stdout.split(), done.stderr) == (names, "")
    with connect(guarded.url, api_key="first-key") as monitor:
        [call] = monitor.calls()["calls"]
    assert call["scores"]["helpfulness"] == 1


def test_with_the_server_away_the_program_works_and_ends(provider_url: str) -> None:
    init = f"import assay; assay.init('http://127.0.0.1:{free_port()}')"
    done = program(init + CALL.format(url=provider_url) + "print('done')", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert done.stdout.strip() == "done"


def test_flush_keeps_to_its_time_and_says_that_it_failed(provider_url: str) -> None:
    init = f"import assay, os, time; assay.init('http://127.0.0.1:{free_port()}')"
    flush = "began = time.monotonic(); print(assay.flush(0.5), time.monotonic() - began, flush=True); os._exit(0)"
    sent, seconds = program(f"{init}{CALL.format(url=provider_url)}{flush}").stdout.split()
    assert sent == "False"
    assert float(seconds) < 2


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://127.0.0.1:port", "http://ü ü"])
def test_an_address_that_is_none_never_breaks_the_program(url: str) -> None:
    script = f"""
import assay
from opentelemetry import trace
assay.init({url!r}, instrument=False)
with assay.session("s1"), trace.get_tracer("tests").start_as_current_span("step"):
    assay.score(None, "helpfulness", 1)
assay.flush(0.2)
print("done")
import os
os._exit(0)
"""
    assert program(script).stdout.strip() == "done"


def test_flush_before_init_has_nothing_to_do() -> None:
    assert program("import assay; print(assay.flush())").stdout.strip() == "True"


def test_importing_assay_loads_nothing_of_the_server() -> None:
    script = """
import json, sys
import assay
import assay.client.feedback
print(json.dumps(sorted(sys.modules)))
"""
    loaded = json.loads(program(script).stdout)
    libraries = {module.partition(".")[0] for module in loaded}
    heavy = "chdb clickhouse_connect fastapi genai_prices jinja2 msgspec numpy openai pandas pyarrow pydantic starlette"
    assert libraries & {*heavy.split(), "streamlit", "typer", "uvicorn"} == set()
    assert [module for module in loaded if module.startswith("assay")] == [
        "assay",
        "assay.client",
        "assay.client.address",
        "assay.client.api",
        "assay.client.api.alerts",
        "assay.client.api.calls",
        "assay.client.api.connection",
        "assay.client.api.files",
        "assay.client.api.models",
        "assay.client.api.scores",
        "assay.client.api.tables",
        "assay.client.arrow",
        "assay.client.delivery",
        "assay.client.exporting",
        "assay.client.feedback",
        "assay.client.frames",
        "assay.client.labels",
        "assay.client.llm",
        "assay.client.model",
        "assay.client.model_calls",
        "assay.client.monitor",
        "assay.client.observe",
        "assay.client.row_delivery",
        "assay.client.session",
        "assay.client.setup",
        "assay.client.spool",
        "assay.errors",
    ]


def test_importing_assay_starts_no_thread_and_sets_up_nothing() -> None:
    script = """
import os, threading
before = dict(os.environ)
import assay
from opentelemetry import trace
print(threading.active_count(), type(trace.get_tracer_provider()).__name__, dict(os.environ) == before)
"""
    assert program(script).stdout.split() == ["1", "ProxyTracerProvider", "True"]


# Which instrumentations are switched on


def installed(directory: Path, *entries: tuple[str, str]) -> list[EntryPoint]:
    """Entry points as they are found when these (package, entry name) are installed."""
    found: list[EntryPoint] = []
    for number, (package, name) in enumerate(entries):
        info = directory / f"{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{name} = {name}:Instrumentor\n")
        found += PathDistribution(info).entry_points
    return found


def chosen(entries: Iterable[EntryPoint]) -> set[str]:
    return {entry.dist.name for entry in _one_each(entries) if entry.dist}


def test_of_several_instrumentations_of_one_library_the_official_one_is_chosen(tmp_path: Path) -> None:
    entries = installed(
        tmp_path,
        ("openinference-instrumentation-openai", "openai"),
        ("opentelemetry-instrumentation-openai", "openai"),
        ("opentelemetry-instrumentation-genai-openai", "openai"),
        ("opentelemetry-instrumentation-openai-v2", "openai"),
    )
    assert chosen(entries) == {"opentelemetry-instrumentation-genai-openai"}
    assert chosen(entries[::-1]) == {"opentelemetry-instrumentation-genai-openai"}


def test_one_library_under_two_spellings_is_instrumented_once(tmp_path: Path) -> None:
    entries = installed(
        tmp_path,
        ("openinference-instrumentation-llama-index", "llama_index"),
        ("opentelemetry-instrumentation-llamaindex", "llamaindex"),
        ("opentelemetry-instrumentation-openai-agents", "openai_agents"),
        ("opentelemetry_instrumentation_genai_openai_agents", "openai-agents"),
    )
    assert chosen(entries) == {
        "openinference-instrumentation-llama-index",
        "opentelemetry_instrumentation_genai_openai_agents",
    }


def test_each_library_gets_its_instrumentation_and_others_are_left_alone(tmp_path: Path) -> None:
    entries = installed(
        tmp_path,
        ("opentelemetry-instrumentation-genai-openai", "openai"),
        ("opentelemetry-instrumentation-anthropic", "anthropic"),
        ("openinference-instrumentation-guardrails", "guardrails"),
        ("opentelemetry-instrumentation-requests", "requests"),
        ("opentelemetry-instrumentation-httpx", "httpx"),
        ("opentelemetry-instrumentation-fastapi", "fastapi"),
        ("opentelemetry-instrumentation-sqlalchemy", "sqlalchemy"),
        ("opentelemetry-instrumentation-redis", "redis"),
    )
    assert chosen(entries) == {
        "opentelemetry-instrumentation-genai-openai",
        "opentelemetry-instrumentation-anthropic",
        "openinference-instrumentation-guardrails",
    }


def test_an_instrumentation_that_fails_is_logged_and_the_others_are_switched_on(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    installed(
        site,
        ("opentelemetry-instrumentation-anthropic", "anthropic"),
        ("opentelemetry-instrumentation-cohere", "cohere"),
        ("opentelemetry-instrumentation-groq", "groq"),
    )
    (site / "anthropic.py").write_text("raise ImportError('broken at import')")
    (site / "cohere.py").write_text("class Instrumentor:\n    def instrument(self): raise ValueError('broken at work')")
    (site / "groq.py").write_text("class Instrumentor:\n    def instrument(self): print('groq is on')")
    done = program("import assay; assay.init('http://127.0.0.1:9')", PYTHONPATH=str(site))
    assert done.stdout.strip() == "groq is on"
    assert "could not switch on the instrumentation 'anthropic': broken at import" in done.stderr
    assert "could not switch on the instrumentation 'cohere': broken at work" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_is_completed_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_URL", raising=False)
    monkeypatch.delenv("ASSAY_API_KEY", raising=False)
    assert address() == ("http://127.0.0.1:4318", "")
    assert address().headers == {}
    monkeypatch.setenv("ASSAY_URL", "http://there:1/")
    monkeypatch.setenv("ASSAY_API_KEY", "key")
    assert address() == ("http://there:1", "key")
    assert address("http://here:2", "other").headers == {"x-api-key": "other"}
