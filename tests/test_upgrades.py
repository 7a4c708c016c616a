"""A store that an earlier Assay wrote opens, is kept as it was, and is brought up to date, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEFORE = """
import sys
from pathlib import Path
from assay.store import connect, migrate

known = migrate.migrations()[:3]
connect.migrate = lambda store, directory=None: migrate.migrate(store, known, directory)
store = connect.open_store(sys.argv[1])
"""
WRITE = """
from datetime import UTC, datetime
from assay.store.kept import Least
store.command('''
    INSERT INTO spans (trace_id, span_id, project, kind, request_model, started_at, counted, cost_usd, version)
    SELECT hex(number), hex(number), 'old', 'llm', 'gpt-4o', toDateTime64('2026-01-01 00:00:00', 6, 'UTC'), true, 0.5, 1
    FROM numbers(1000)
''')
store.command('''
    INSERT INTO scores (target, name, value, project, started_at, version)
    SELECT hex(number), 'relevance', 0.5, 'old', toDateTime64('2026-01-01 00:00:00', 6, 'UTC'), 1 FROM numbers(10)
''')
store.kept.least = Least(0, 0, 0)
days = store.kept.days(datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
sums = "SELECT toDate(started_at) AS day, count() AS calls FROM spans GROUP BY day"
store.kept.table("calls", days, lambda _: (sums, {}))
store.close()
"""
COUNT = """
import json
[kept] = store.query("SELECT count() AS kept FROM system.tables WHERE database = 'kept'")
print(json.dumps(store.query("SELECT count() AS spans, sum(cost_usd) AS cost FROM spans FINAL")[0] | kept))
store.close()
"""
NOW = """
import json, sys
from assay.store.connect import open_store
store = open_store(sys.argv[1])
[row] = store.query(
    "SELECT count() AS spans, sum(cost_usd) AS cost, countIf(duplicate_of || as_sent = '') AS plain FROM spans FINAL"
)
[scores] = store.query("SELECT countIf(counted) AS counted FROM scores FINAL")
[version] = store.query("SELECT max(number) AS version FROM schema_migrations")
[kept] = store.query("SELECT count() AS kept FROM system.tables WHERE database = 'kept'")
print(json.dumps(row | scores | version | kept))
store.close()
"""


def run(script: str, directory: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "{}")


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store of 1,000 calls as version 3 wrote it."""
    run(BEFORE + WRITE, tmp_path / "data")
    return tmp_path / "data"


def test_a_store_of_an_earlier_version_opens_with_all_it_held(old_store: Path) -> None:
    found = run(NOW, old_store)
    assert (found["spans"], found["cost"], found["plain"], found["counted"]) == (1000, 500, 1000, 10)
    assert found["kept"] == 0


def test_the_store_as_it_was_can_be_opened_by_the_version_that_wrote_it(old_store: Path) -> None:
    run(NOW, old_store)
    assert [path.name for path in (old_store / "backups").iterdir()] == ["version-3"]
    assert run(BEFORE + COUNT, old_store / "backups" / "version-3") == {"spans": 1000, "cost": 500, "kept": 1}


def test_a_new_store_and_one_that_is_up_to_date_are_not_backed_up(tmp_path: Path) -> None:
    run(NOW, tmp_path / "data")
    run(NOW, tmp_path / "data")
    assert not (tmp_path / "data" / "backups").exists()


def test_a_migration_killed_half_way_is_finished_at_the_next_start(old_store: Path) -> None:
    killed = """
import sys, time
from assay.store import connect
real = connect.Store.command
def slow(self, sql, parameters=None):
    real(self, sql, parameters)
    if sql.startswith("ALTER TABLE spans"):
        print("altered", flush=True)
        time.sleep(60)
connect.Store.command = slow
connect.open_store(sys.argv[1])
"""
    with subprocess.Popen([sys.executable, "-c", killed, str(old_store)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"altered\n"
        process.send_signal(signal.SIGKILL)
    found = run(NOW, old_store)
    assert (found["spans"], found["plain"]) == (1000, 1000)
    assert run(BEFORE + COUNT, old_store / "backups" / "version-3") == {"spans": 1000, "cost": 500, "kept": 1}
