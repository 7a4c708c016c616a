"""How long searches take over a million calls, asked over HTTP, beside a plain scan of the same texts by the engine.

Cold is the first time a fresh server is asked; warm are the times after. Also what the index takes on disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from assay.client.monitor import Monitor, connect
from assay.store.connect import Store, open_store
from measuring import memory_mb, server, show
from seed import seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--directory", type=Path, help="keep the store here, and use it if it is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.directory or Path(temporary)
        is_new = not (directory / "data").exists()
        store = open_store(str(directory / "data"))
        if is_new:
            seed(store, options.calls, options.days, varied=True)
        questions, facts = _questions(store), _sizes(store)
        scans = {name: _scan_ms(store, asked["q"]) for name, asked in questions.items()}
        store.close()
        with (
            server(directory, ASSAY_QUALITY__SCORERS="off") as (url, pid),
            connect(url, timeout_seconds=120) as monitor,
        ):
            rows = [
                {"question": name, **_times(monitor, asked, options.repeat), "scan ms": scans[name]}
                for name, asked in questions.items()
            ]
            show("search", rows, server_mb=memory_mb(pid), **facts)


def _questions(store: Store) -> dict[str, dict[str, Any]]:
    """Words of the store by how many calls have them, and what stands beside them in one."""
    words = store.query(
        "SELECT token, sum(cardinality) AS calls FROM mergeTreeTextIndex(currentDatabase(), 'spans', 'said_terms')"
        " WHERE match(token, '^[a-z]{4,}$') GROUP BY token ORDER BY calls DESC, token"
    )
    common, middle, rare = words[0]["token"], words[len(words) // 50]["token"], words[-1]["token"]
    [text] = store.query(
        "SELECT prompt FROM spans WHERE length(prompt) = lengthUTF8(prompt) ORDER BY started_at DESC LIMIT 1"
    )
    phrase = " ".join(text["prompt"].split(".")[0].split()[:4])
    [han] = store.query("SELECT extract(prompt, '[一-龥]{12}') AS han FROM spans WHERE han != '' LIMIT 1")
    questions = {
        f"common word ({words[0]['calls']:,} calls)": {"q": common},
        f"word ({words[len(words) // 50]['calls']:,})": {"q": middle},
        f"rare word ({words[-1]['calls']:,})": {"q": rare},
        "two words": {"q": f"{middle} {rare}"},
        "word, without another": {"q": f"{rare} -{common}"},
        "phrase": {"q": f'"{phrase}"'},
        "prefix": {"q": f"{rare[:5]}*"},
        "2 Chinese characters": {"q": han["han"][4:6]},
        "4 Chinese characters": {"q": han["han"][4:8]},
        "word nobody said": {"q": "zzyzx"},
        "common word, in=response": {"q": common, "within": "response"},
        "word, one project, 7 days": {"q": middle, "project": "project-1", "since": "7d"},
    }
    return {name: {"limit": 10, **asked} for name, asked in questions.items()}


def _sizes(store: Store) -> dict[str, Any]:
    [row] = store.query(
        "SELECT sum(rows) AS calls, sum(data_compressed_bytes) AS bytes FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table = 'spans'"
    )
    [index] = store.query(
        "SELECT sum(data_compressed_bytes) AS bytes FROM system.data_skipping_indices WHERE name = 'said_terms'"
    )
    return {"calls": row["calls"], "data_mb": row["bytes"] / 1e6, "index_mb": index["bytes"] / 1e6}


def _scan_ms(store: Store, q: str) -> float:
    """The ten newest calls with the first word of `q` by LIKE, as one would find them without an index."""
    began = time.perf_counter()
    store.query(
        "SELECT span_id FROM spans FINAL WHERE counted AND concat(prompt, response, messages_in) ILIKE {like:String}"
        " ORDER BY started_at DESC LIMIT 10",
        {"like": f"%{q.split()[0].strip(chr(34) + '*')}%"},
    )
    return (time.perf_counter() - began) * 1000


def _times(monitor: Monitor, asked: dict[str, Any], repeat: int) -> dict[str, Any]:
    cold, found = _ask_ms(monitor, asked)
    warm = [_ask_ms(monitor, asked)[0] for _ in range(repeat)]
    return {"found": found, "cold ms": cold, "p50 ms": median(warm), "p95 ms": quantiles(warm, n=20)[-1]}


def _ask_ms(monitor: Monitor, asked: dict[str, Any]) -> tuple[float, int]:
    began = time.perf_counter()
    page = monitor.calls(**asked)
    return (time.perf_counter() - began) * 1000, len(page["calls"])


if __name__ == "__main__":
    main()
