"""`assay reprice` and `assay doctor` against a real server and a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assay.client.monitor import connect
from conftest import Server, eventually, otlp, run_assay


def test_a_model_without_a_price_is_told_by_the_doctor_and_priced_once_its_price_is_known(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    mine = {"gen_ai.request.model": "house-model", "gen_ai.response.model": "house-model"}
    server.post(otlp(mine)).raise_for_status()
    with connect(server.url) as monitor:
        eventually(lambda: monitor.usage()["unpriced"] == 1)
        assert "1 calls to house-model have no price" in [one["found"] for one in monitor.doctor()]
        assert monitor.reprice()["unpriced"] == {"house-model": 1}
    server.stop()
    (server.directory / "assay.toml").write_text('[prices."house-model"]\ninput = 1.0\noutput = 2.0\n')
    server.start()
    with connect(server.url) as monitor:
        expected = {"calls": 1, "changed": 1, "cost_before_usd": 0.0, "cost_after_usd": 0.002, "unpriced": {}}
        assert monitor.reprice(dry_run=True) == expected
        assert monitor.usage()["unpriced"] == 1
        assert monitor.reprice() == expected
        assert monitor.usage()["total_cost_usd"] == 0.002
        assert monitor.reprice()["changed"] == 0
    assert "house-model" not in _said(server.directory, "doctor", "--url", server.url)
    server.stop()
    said = _said(server.directory, "reprice", "--dry-run", "--since", "30d", "--store", str(server.directory / "data"))
    assert said.startswith("0 of 1 calls would change")


def _said(directory: Path, *command: str) -> str:
    done = run_assay(*command, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout
