"""Prompt groups: do they match labelled kinds of question, do their ids stay, and what do they cost?

Kinds: the simulator's questions, and any CSV of `text,category` (--data; its first 2,000 rows in a fixed random order).
Beside ours: each template a group of its own, and TF-IDF with k-means for as many groups as we found (mean of 5 seeds).
With --store (made by seed.py) also times over that store; every prompt there counts as a template of its own, which is
the worst case.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from assay.analytics.groups import groups
from assay.analytics.selection import Selection
from assay.analytics.similar import similar_to_call
from assay.quality.groups.embedding import DIMENSIONS, load_embedder
from assay.quality.groups.fit import fit
from assay.quality.groups.grouping import Grouping, PromptReader
from assay.quality.groups.mask import template, template_id
from assay.quality.groups.nearest import Nearest
from assay.quality.text import words
from assay.quality.words import unit
from assay.simulate.texts import library
from assay.simulate.traffic import visits
from assay.store.connect import Store, open_store
from assay.store.embeddings import Templates, embedded_calls, templates_of
from assay.store.housekeeping import merge_closed_days
from assay.store.prompt_groups import groups_of
from measuring import WORDS, show

ROWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a CSV of text,category; repeatable")
    parser.add_argument("--store", help="a store of seed.py for times")
    options = parser.parse_args()
    show(
        "groups against labelled kinds", [row for name, asked in labelled(options.data) for row in purity(name, asked)]
    )
    show("stability of ids as calls come in", stability())
    show("reading prompts", reading())
    if options.store:
        store = open_store(options.store)
        show("times over a store", times(store), calls=sum(embedded_calls(store, 0).values()))
        store.close()


Asked = list[tuple[str, str]]
"""Prompts with their kinds."""


def labelled(files: list[Path]) -> list[tuple[str, Asked]]:
    found = [("simulator", simulated(3000))]
    for path in files:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(path.open(encoding="utf-8"))]
        random.Random(0).shuffle(rows)
        found.append((path.stem, rows[:ROWS]))
    return found


def simulated(count: int) -> Asked:
    """The demo's traffic: 42 topics in several phrasings each, and thanks."""
    known, asked = library(), list[tuple[str, str]]()
    for visit in visits(0):
        for turn in visit.turns:
            topic = known.topic(turn.prompt)
            asked.append((turn.prompt, topic.name if topic else "thanks"))
        if len(asked) >= count:
            return asked[:count]
    return asked


def purity(name: str, asked: Asked) -> list[dict[str, Any]]:
    kinds = [kind for _, kind in asked]
    texts = [template(prompt) for prompt, _ in asked]
    vectors = load_embedder().embed(texts)
    found = fitted(texts, vectors, [])
    ours = Nearest(found)(vectors)
    count = len(found)
    rows = [figures(name, "ours", kinds, ours), figures(name, "template only", kinds, texts)]
    bags = tf_idf(texts)
    runs = [figures(name, "tf-idf, k-means", kinds, k_means(bags, count, seed)) for seed in range(5)]
    return [
        *rows,
        {k: v if isinstance(v, str) else float(np.mean([run[k] for run in runs])) for k, v in runs[0].items()},
    ]


def figures(name: str, method: str, kinds: list[str], labels: list[Any]) -> dict[str, Any]:
    """Normalised mutual information (arithmetic mean), and the share of calls in their group's commonest kind.

    `at most` is the purity of so many groups that hold one kind each.
    """
    joint, ours, theirs = Counter(zip(labels, kinds, strict=True)), Counter(labels), Counter(kinds)
    n = len(kinds)
    shared = sum(c / n * math.log(c * n / (ours[a] * theirs[b])) for (a, b), c in joint.items())
    spread = sum(-c / n * math.log(c / n) for counts in (ours, theirs) for c in counts.values())
    best = Counter[Any]()
    for (label, _), c in joint.items():
        best[label] = max(best[label], c)
    return {
        "set": name,
        "method": method,
        "kinds": float(len(theirs)),
        "groups": float(len(set(labels) - {""})),
        "NMI": 2 * shared / spread,
        "purity": sum(best.values()) / n,
        "at most": sum(c for _, c in theirs.most_common(len(set(labels) - {""}))) / n,
        "in other": labels.count("") / n,
    }


def fitted(texts: list[str], vectors: np.ndarray, former: list[Any]) -> list[Any]:
    """The groups of these calls, as the server would fit them: each template once, with its calls."""
    counts = Counter(map(template_id, texts))
    first = {template_id(text): place for place, text in reversed(list(enumerate(texts)))}
    ids = [one for one, _ in counts.most_common()][:ROWS]
    places = [first[one] for one in ids]
    present = [group for group in former if not group.gone]
    now = Nearest(present)(vectors[places]) if present else [""] * len(ids)
    of = Templates(
        ids, [texts[p] for p in places], np.array([counts[i] for i in ids], np.float32), vectors[places], now
    )
    return [group for group in fit("p", of, former, "v", len(texts)) if not group.gone or former]


def tf_idf(texts: list[str]) -> np.ndarray:
    documents = [words(text.lower()) for text in texts]
    seen = Counter(word for document in documents for word in set(document))
    column = {word: place for place, (word, _) in enumerate(seen.most_common(2000))}
    bags = np.zeros((len(texts), len(column)), np.float32)
    for row, document in enumerate(documents):
        for word in document:
            if word in column:
                bags[row, column[word]] += math.log(len(texts) / seen[word])
    return unit(bags)


def k_means(vectors: np.ndarray, count: int, seed: int) -> list[int]:
    """Spherical k-means from k-means++ seeds."""
    rng = np.random.default_rng(seed)
    centres = vectors[rng.choice(len(vectors), 1)]
    for _ in range(count - 1):
        far = np.clip(1 - (vectors @ centres.T).max(1), 1e-9, None)
        centres = np.vstack([centres, vectors[rng.choice(len(vectors), p=far / far.sum())]])
    for _ in range(25):
        labels = (vectors @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, vectors)
        centres = unit(sums)
    return labels.tolist()


def stability() -> list[dict[str, Any]]:
    """The simulator's traffic, fitted anew each time it has grown by half: what became of ids and calls."""
    asked, former, rows = simulated(8000), list[Any](), list[dict[str, Any]]()
    texts = [template(prompt) for prompt, _ in asked]
    vectors = load_embedder().embed(texts)
    count = 200
    while count <= len(asked):
        before = [group for group in former if not group.gone]
        former = fitted(texts[:count], vectors[:count], former)
        now = [group for group in former if not group.gone]
        kept = {group.id for group in before} & {group.id for group in now}
        same = np.mean([a == b for a, b in zip(*(Nearest(of)(vectors[:count]) for of in (before, now)), strict=True)])
        rows.append(
            {
                "calls": float(count),
                "groups": float(len(now)),
                "ids kept": len(kept) / len(before) if before else math.nan,
                "calls in the same group": float(same) if before else math.nan,
            }
        )
        count = int(count * 1.5)
    return rows


def reading() -> list[dict[str, Any]]:
    """CPU time a call in the process that reads prompts."""
    reader, rng = PromptReader(), random.Random(0)
    sets = {
        "the simulator's questions": [("p", prompt) for prompt, _ in simulated(5000)],
        "1,000 random characters": [("p", " ".join(rng.choices(WORDS, k=170))[:1000]) for _ in range(2000)],
    }
    rows = list[dict[str, Any]]()
    for name, prompts in sets.items():
        began = time.process_time()
        reader.read(prompts)
        rows.append({"prompts": name, "CPU, µs a call": (time.process_time() - began) / len(prompts) * 1e6})
    return rows


def times(store: Store) -> list[dict[str, Any]]:
    if not embedded_calls(store, 0):
        fill(store)
    grouping = Grouping(store)
    project = max(of := embedded_calls(store, 0), key=of.__getitem__)
    [some] = store.query("SELECT any(span_id) AS id FROM embeddings WHERE project = {p:String}", {"p": project})
    [plain] = store.query("SELECT count() AS calls FROM spans")
    week = Selection(since=_days_ago(7))
    rows = [
        timed("refit of one project, all its calls assigned", lambda: grouping.refit(project), 1),
        timed("refit again", lambda: grouping.refit(project), 1),
    ]
    grouping.refit()
    grouping.close()
    merge_closed_days(store)
    one = next(group.id for group in groups_of(store, project) if not group.gone)
    in_group = Selection(project=project, prompt_group=one)
    where, parameters = in_group.of_calls()
    everywhere = similar_everywhere(store, some["id"])
    return [
        *rows,
        timed("templates for a fit", lambda: templates_of(store, project, 0, 2000), 2),
        timed("groups, all calls", lambda: groups(store, Selection())),
        timed("groups, 7 days and the 7 before", lambda: groups(store, week)),
        timed("groups, one project", lambda: groups(store, Selection(project=project))),
        timed(
            "calls of a group, counted",
            lambda: store.query(f"SELECT count() FROM spans FINAL WHERE {where}", parameters),
        ),
        timed("similar, one project", lambda: similar_to_call(store, Selection(), some["id"])),
        timed(f"similar, all {plain['calls']:,} calls", everywhere),
        timed("raw engine: dot products of all", lambda: raw(store)),
    ]


def similar_everywhere(store: Store, span_id: str) -> Callable[[], Any]:
    from assay.analytics.similar import similar_to

    [row] = store.query(
        "SELECT vector::Array(Float32) AS vector FROM embeddings WHERE span_id = {id:String} LIMIT 1", {"id": span_id}
    )
    return lambda: similar_to(store, Selection(), row["vector"])


def raw(store: Store) -> Any:
    vector = [1 / math.sqrt(DIMENSIONS)] * DIMENSIONS
    return store.query("SELECT max(dotProduct(vector, {v:Array(BFloat16)})) FROM embeddings", {"v": vector})


def fill(store: Store) -> None:
    """Embeddings of all calls of a seeded store, each prompt another: a direction of its own near one of 40."""
    store.command(
        f"""
        INSERT INTO embeddings
        SELECT project, started_at, span_id, counted, model, session_id, status, latency_ms, cost_usd,
            cityHash64(span_id) AS template, substring(prompt, 1, 200),
            arrayMap(x -> x / sqrt(arraySum(y -> y * y, raw)), raw), '', 1
        FROM (SELECT *, model, arrayMap(i -> toFloat32(
                (cityHash64(i, cityHash64(prompt) % 40) % 2000 - 1000) / 1000
                + 0.5 * (cityHash64(i, span_id) % 2000 - 1000.) / 1000), range({DIMENSIONS})) AS raw
            FROM spans FINAL WHERE kind = 'llm')
        """
    )
    merge_closed_days(store)


def timed(name: str, ask: Callable[[], Any], times: int = 4) -> dict[str, Any]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return {"question": name, "first, ms": taken[0] * 1000, "best, ms": min(taken) * 1000}


def _days_ago(days: int) -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(days=days)


if __name__ == "__main__":
    main()
