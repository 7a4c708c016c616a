"""Who may talk to the server: holders of a key where keys are set, and this machine alone where not."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from conftest import Server, eventually, free_port, otlp, run_assay

KEY, OTHER_KEY = "first-secret-key", "second-secret-key"
WRONG = "a-wrong-key"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two keys."""
    started = Server(tmp_path_factory.mktemp("guarded"), ASSAY_API_KEYS=f"{KEY},{OTHER_KEY}").start()
    yield started
    started.stop()


def ask(method: str, url: str, **more: Any) -> httpx.Response:
    """One request of its own, without cookies of others. (Unread certificates save 40 ms each.)"""
    return httpx.request(method, url, verify=False, timeout=30, **more)


def basic(password: str, user: str = "anyone") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ways(key: str) -> list[dict[str, str]]:
    """The headers that carry a key."""
    return [
        {"Authorization": f"Bearer {key}"},
        {"authorization": f"bearer   {key}"},
        {"x-api-key": key},
        {"Authorization": basic(key)},
        {"Authorization": basic(key, user="")},
        {"Authorization": f"Bearer {WRONG}", "x-api-key": key},
    ]


DOORS = [
    ("GET", "/"),
    ("GET", "/_stcore/health"),
    ("GET", "/static/index.html"),
    ("GET", "/api/health"),
    ("GET", "/api/usage"),
    ("GET", "/api/export"),
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("POST", "/api/scores"),
    ("POST", "/api/predictions"),
    ("POST", "/api/labels"),
    ("POST", "/v1/traces"),
    ("POST", "/v1/logs"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_needs_a_key(guarded: Server, method: str, path: str) -> None:
    for headers in [{}, *ways(WRONG)[:5], {"Cookie": "assay_session=guess"}]:
        answer = ask(method, f"{guarded.url}{path}", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert "send Authorization: Bearer KEY, or x-api-key: KEY" in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_a_key_opens_in_each_of_its_forms(guarded: Server, key: str) -> None:
    for headers in ways(key):
        assert ask("GET", f"{guarded.url}/api/usage", headers=headers).status_code == 200, headers
        assert ask("GET", guarded.url, headers=headers).status_code == 200
        assert guarded.post(otlp({}), **headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY + "x"},
        {"x-api-key": KEY.upper()},
        {"x-api-key": f"{KEY},{OTHER_KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"Authorization": f"Digest {KEY}"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": basic("")},
        {"Authorization": "Basic " + base64.b64encode(KEY.encode()).decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"Authorization": b"Basic \xe9\xe9"},
        {"Authorization": b"Bearer \xe9"},
        {"x-api-key": b"\xff"},
        {"Cookie": f"assay_session={KEY}"},
        {"Cookie": "assay_session="},
        {"Cookie": "assay_session"},
        {"Cookie": b"assay_session=\xff"},
        {"Cookie": '="; assay_session; ;;='},
    ],
)
def test_what_is_no_key_is_refused_and_never_an_error(guarded: Server, headers: dict[str, str | bytes]) -> None:
    assert ask("GET", f"{guarded.url}/api/usage", headers=headers).status_code == 401


def test_a_browser_is_remembered_by_a_cookie_without_the_key(guarded: Server) -> None:
    with httpx.Client(base_url=guarded.url, verify=False) as browser:
        assert browser.get("/").status_code == 401
        cookie = browser.get("/", headers={"Authorization": basic(KEY)}).headers["set-cookie"]
        assert KEY not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert browser.get("/").status_code == 200
        assert browser.get("/api/usage").status_code == 200
        assert browser.get("/api/usage", headers={"x-api-key": WRONG}).status_code == 200


STREAM = "/_stcore/stream"


def opened(server: Server, **headers: str) -> None:
    """Opens the dashboard's WebSocket. Raises InvalidStatus where the server refuses."""
    url = server.url.replace("http", "ws") + STREAM
    with connect(url, additional_headers=headers, subprotocols=[Subprotocol("streamlit")], proxy=None):
        pass


def test_the_dashboards_websocket_needs_the_key_or_the_cookie(guarded: Server) -> None:
    for headers in [{}, {"x-api-key": WRONG}, {"Cookie": "assay_session=guess"}]:
        with pytest.raises(InvalidStatus) as refusal:
            opened(guarded, **headers)
        assert refusal.value.response.status_code == 403
    opened(guarded, **{"x-api-key": KEY})
    answer = ask("GET", guarded.url, headers={"x-api-key": KEY})
    opened(guarded, Cookie=f"assay_session={answer.cookies['assay_session']}")


def test_a_cookie_ends_with_the_server_that_gave_it(guarded: Server, own_server: Callable[..., Server]) -> None:
    other = own_server(ASSAY_API_KEYS=KEY)
    cookie = ask("GET", f"{guarded.url}/api/usage", headers={"x-api-key": KEY}).cookies["assay_session"]
    answer = ask("GET", f"{other.url}/api/usage", headers={"Cookie": f"assay_session={cookie}"})
    assert answer.status_code == 401


def test_with_keys_the_server_may_have_any_name(guarded: Server) -> None:
    answer = ask("GET", f"{guarded.url}/api/usage", headers={"Host": "assay.example.com", "x-api-key": KEY})
    assert answer.status_code == 200


def test_keys_are_never_logged_nor_told(guarded: Server) -> None:
    for headers in [*ways(KEY), *ways(WRONG)]:
        for method, path in DOORS[:5]:
            answer = ask(method, f"{guarded.url}{path}", headers=headers)
            assert KEY not in answer.text
            assert KEY not in str(answer.headers)
    assert KEY not in guarded.log
    assert OTHER_KEY not in guarded.log
    assert WRONG not in guarded.log


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "localhost", "LOCALHOST:4318", "[::1]", "[::1]:4318"])
def test_without_keys_this_machine_is_trusted(server: Server, host: str) -> None:
    assert ask("GET", f"{server.url}/api/usage", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4318",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1x",
        "",
        "0",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/api/export"), ("POST", "/v1/traces")])
def test_without_keys_a_page_that_had_its_name_rebound_is_refused(
    server: Server, method: str, path: str, host: str
) -> None:
    answer = ask(method, f"{server.url}{path}", headers={"Host": host})
    assert (answer.status_code, answer.text) == (400, "Invalid host header")


def test_without_keys_a_foreign_name_opens_no_websocket(server: Server) -> None:
    assert handshake(server, "127.0.0.1") == 101
    assert handshake(server, "evil.example") in (400, 403)


def handshake(server: Server, host: str) -> int:
    """The status that a browser would get whose page believes the server to be called `host`."""
    request = (
        f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: streamlit\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request.encode())
        return int(connection.recv(1000).split()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "assay.example.com"])
def test_serving_the_network_without_keys_is_refused_with_the_fix(tmp_path: Path, host: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    refused = run_assay("serve", "--host", host, "--port", free_port(), cwd=tmp_path, environment=environment)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"assay: refusing to listen on {host} without API keys: anyone on the network could read every prompt. "
        "Set ASSAY_API_KEYS=a-long-random-key, or keep the default --host 127.0.0.1 "
        "and reach it through an SSH tunnel.\n"
    )
    assert list(tmp_path.iterdir()) == [], "no store is made"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL that a server on another loopback address prints, just after it did so; and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", "serve", "--host", "127.0.0.2", "--port", str(free_port())],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    lines = iter(process.stdout.readline, "")
    yield next(line.split()[-1] for line in lines if "dashboard" in line), process
    process.terminate()
    process.wait(20)


def test_once_the_url_is_printed_it_can_be_used(served: tuple[str, Any]) -> None:
    url, _ = served
    ask("GET", f"{url}/api/health")


def test_every_loopback_address_that_may_be_listened_on_answers(served: tuple[str, Any]) -> None:
    url, process = served

    def answer() -> httpx.Response | None:
        try:
            return ask("GET", f"{url}/api/health")
        except httpx.ConnectError:
            return None

    answered = eventually(lambda: answer() or process.poll() is not None)
    assert (answered.status_code, answered.url.host) == (200, "127.0.0.2")
