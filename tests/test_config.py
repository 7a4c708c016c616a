"""Settings: where they come from, which wins, and what a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.config import Config, load_config, require_safe_binding
from assay.errors import ConfigError


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without assay.toml, and an environment without ASSAY_*."""
    for name in [name for name in os.environ if name.upper().startswith("ASSAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_the_defaults_suit_one_person_on_one_machine() -> None:
    assert load_config().model_dump() == {
        "host": "127.0.0.1",
        "port": 4318,
        "store": "chdb:///./assay-data",
        "api_keys": [],
        "ingest": {"max_body_bytes": 64 << 20, "max_pending_bytes": 256 << 20, "max_future_seconds": 86_400.0},
        "quality": {
            "scorers": "local",
            "metrics": {},
            "custom": [],
            "processes": 1,
            "share": "1/1",
            "timeout_seconds": 10.0,
            "poll_seconds": 0.5,
            "batch_size": 500,
            "onnx": {},
            "judge": None,
        },
        "alerts": {"rules": Path("alerts.toml"), "enabled": True},
        "prices": {},
        "grpc_port": None,
        "report": [],
        "budget": [],
        "timezone": "UTC",
        "sql": {
            "enabled": True,
            "max_seconds": 10,
            "max_rows": 10_000,
            "max_result_bytes": 16 << 20,
            "max_memory_bytes": 1 << 30,
            "threads": 1,
        },
    }


def test_an_option_beats_the_environment_which_beats_the_file_which_beats_the_default(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_directory / "assay.toml").write_text('port = 1\nhost = "::1"\nstore = "from-file"\n')
    assert load_config().port == 1
    monkeypatch.setenv("ASSAY_PORT", "2")
    monkeypatch.setenv("ASSAY_HOST", "localhost")
    assert load_config().port == 2
    config = load_config(port=3, host=None, store=None)
    assert (config.port, config.host, config.store) == (3, "localhost", "from-file")


def test_file_and_environment_together_make_up_a_nested_setting(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_directory / "assay.toml").write_text('[quality]\nscorers = "lexical"\nbatch_size = 7\n')
    monkeypatch.setenv("ASSAY_QUALITY__SCORERS", "off")
    quality = load_config().quality
    assert (quality.scorers, quality.batch_size, quality.poll_seconds) == ("off", 7, 0.5)


@pytest.mark.parametrize(
    ("keys", "read"),
    [("one", ("one",)), ("one, two ,three", ("one", "two", "three")), (",", ()), ("", ()), (" one,", ("one",))],
)
def test_keys_are_separated_by_commas(keys: str, read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_API_KEYS", keys)
    assert load_config().keys == read


def test_keys_in_the_file_are_a_list(own_directory: Path) -> None:
    (own_directory / "assay.toml").write_text('api_keys = ["one", "two"]')
    assert load_config().keys == ("one", "two")


def test_a_printed_configuration_hides_its_keys() -> None:
    config = load_config(api_keys="a-secret-key")
    assert "a-secret-key" not in f"{config!r} {config} {config.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ASSAY_PORT", "many", "port: Input should be a valid integer"),
        ("ASSAY_PORT", "65536", "port must be between 0 and 65535, not 65536"),
        ("ASSAY_PORT", "-1", "port must be between 0 and 65535, not -1"),
        ("ASSAY_QUALITY__SCORERS", "best", "quality.scorers: Input should be 'local', 'lexical' or 'off'"),
        ("ASSAY_QUALITY__BATCH_SIZE", "0", "quality.batch_size"),
        ("ASSAY_QUALITY__POLL_SECONDS", "-1", "quality.poll_seconds"),
        ("ASSAY_INGEST__MAX_BODY_BYTES", "big", "ingest.max_body_bytes: Input should be a valid integer"),
        ("ASSAY_INGEST__MAX_BODY_BYTES", "-1", "ingest.max_body_bytes"),
        ("ASSAY_QUALITY", "{", "quality"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refusal:
        load_config()
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"prot = 1", "prot: Extra inputs are not permitted"),
        (b"[quality]\nscorer = 'off'", "quality.scorer: Extra inputs are not permitted"),
        (b"[ingest]\nmax_body = 1", "ingest.max_body: Extra inputs are not permitted"),
        (b"port = ", "cannot be read: Invalid value"),
        (b"store = '\xff'", "assay.toml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: bytes, said: str, own_directory: Path) -> None:
    (own_directory / "assay.toml").write_bytes(text)
    with pytest.raises(ConfigError) as refusal:
        load_config()
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("chdb:///./assay-data", "chdb:///./assay-data"),
        ("./assay-data", "./assay-data"),
        ("clickhouse://host:9000/db", "clickhouse://host:9000/db"),
        ("clickhouse://ada@host/db", "clickhouse://ada@host/db"),
        ("clickhouse://ada:secret@host:8443/db", "clickhouse://ada:***@host:8443/db"),
        ("clickhouse://:secret@host/db", "clickhouse://:***@host/db"),
        ("clickhouses://ada:se:c/ret@host/db", "clickhouses://ada:***@host/db"),
        ("clickhouse://ada:sec@secret@host/db", "clickhouse://ada:***@host/db"),
    ],
)
def test_the_store_is_shown_without_its_password(store: str, shown: str) -> None:
    assert Config(store=store).shown_store == shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_may_listen_to_itself_without_keys(host: str) -> None:
    require_safe_binding(Config(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "2001:db8::1", "assay.example.com", "localhost.example.com", "", "127.1"]
)
def test_listening_to_the_network_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        require_safe_binding(Config(host=host))
    assert f"refusing to listen on {host} without API keys" in str(refusal.value)
    assert "Set ASSAY_API_KEYS=" in str(refusal.value)
    require_safe_binding(Config(host=host, api_keys="key"))  # pyright: ignore[reportArgumentType]


def test_a_list_of_empty_keys_is_no_key(own_directory: Path) -> None:
    (own_directory / "assay.toml").write_text('api_keys = ["", "  "]')
    with pytest.raises(ConfigError):
        require_safe_binding(load_config(host="0.0.0.0"))


def test_prices_of_ones_own_are_read_from_the_file_and_from_the_environment(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_directory / "assay.toml").write_text('[prices."my-model"]\ninput = 0.5\noutput = 1.5\n')
    assert load_config().prices["my-model"].output == 1.5
    monkeypatch.setenv("ASSAY_PRICES", '{"other": {"input": 2}}')
    assert load_config().prices["other"].input == 2


def test_a_price_that_is_wrong_is_named(own_directory: Path) -> None:
    (own_directory / "assay.toml").write_text('[prices."my-model"]\ninput = -1\n')
    with pytest.raises(ConfigError, match=r"prices\.my-model\.input"):
        load_config()
