"""Every recorded case as it is stored: whole records, so that a reader of a change sees all that it changes.

Fields at their default are left out. Write the files anew with: python tests/test_snapshots.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.ingest.events import event
from assay.ingest.figures import figures
from assay.ingest.normalise import normalise
from assay.ingest.otlp import PROTOBUF, decode, decode_logs
from assay.ingest.pricing import Prices
from assay.ingest.settle import settled
from assay.records import Span

CASES = Path(__file__).parent / "otlp_cases"
EXPECTATIONS = sorted(CASES.rglob("*.expected.json"))
PRICES = Prices()


class Shown(Span, frozen=True, omit_defaults=True):
    """A span without the fields that are at their default."""


def stored(case: Path) -> list[dict[str, Any]]:
    """The spans of a case in the order of their starts, as the store would get them if all came at once."""
    traces, logs = (case.with_name(case.name.replace("expected.json", suffix)) for suffix in ("pb", "logs.pb"))
    raw = decode(traces.read_bytes(), PROTOBUF).spans if traces.exists() else []
    events = decode_logs(logs.read_bytes(), PROTOBUF).logs if logs.exists() else []
    spans = settled(
        [normalise(span, PRICES) for span in raw],
        filter(None, map(event, events)),
        lambda span: figures(span, PRICES),
    )
    shown = [Shown(**msgspec.structs.asdict(span)) for span in sorted(spans, key=lambda s: (s.started_at, s.span_id))]
    return json.loads(msgspec.json.encode(shown))


def snapshot(case: Path) -> Path:
    return case.with_name(case.name.replace("expected", "stored"))


@pytest.mark.parametrize("case", EXPECTATIONS, ids=lambda path: f"{path.parent.name}/{path.name[:-14]}")
def test_a_recorded_case_is_stored_as_it_was_before(case: Path) -> None:
    assert stored(case) == json.loads(snapshot(case).read_text())


if __name__ == "__main__":
    for one in EXPECTATIONS:
        snapshot(one).write_text(json.dumps(stored(one), indent=1, ensure_ascii=False) + "\n")
