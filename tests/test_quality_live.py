"""A server with scorers of one's own: what works is shown, what does not is told, and nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import own_scorers
from assay.client.monitor import connect
from assay.quality.watch import MOST_FAILURES
from conftest import Server, chat_attributes, eventually, otlp


def test_a_scorer_of_ones_own_scores_and_one_that_fails_rests_and_is_told(own_server: Callable[..., Server]) -> None:
    server = own_server(Path(own_scorers.__file__), ASSAY_QUALITY__CUSTOM="own_scorers,not_there")
    # Calls of one request are judged in the order of their ids: the failures come in a row.
    spans = [
        {"span_id": f"{place:016x}", "attributes": chat_attributes(response=response)}
        for place, response in enumerate(["yes, please"] + ["raise"] * MOST_FAILURES, 1)
    ]
    server.post(otlp(*spans)).raise_for_status()
    with connect(server.url) as monitor:
        scores = eventually(
            lambda: (
                {"politeness", "toxicity", "temper"}
                <= (found := monitor.calls(q="please")["calls"][0]["scores"]).keys()
                and found
            )
        )
        assert (scores["politeness"], scores["temper"]) == (1.0, 1.0)
        [problem] = eventually(lambda: monitor.health()["quality"]["problems"])
        assert "module 'not_there' cannot be loaded" in problem
        resting = eventually(lambda: monitor.health()["quality"]["resting"])
        assert resting == {"temper": "failed: ValueError: lost my temper"}
        assert monitor.health()["status"] == "ok", "a scorer of one's own that fails does not make the server fail"
        findings = {finding["found"]: finding for finding in monitor.doctor() if finding["check"] == "scoring"}
        assert findings["temper rests: failed: ValueError: lost my temper"]["status"] == "warning"
        failed = [call for call in monitor.calls(q="raise", limit=50)["calls"] if call["scores"].get("temper") is None]
        assert len(failed) == MOST_FAILURES
