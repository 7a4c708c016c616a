"""How well the scorer sets agree with people, on the rows of a folder of labelled .jsonl files.

In: a folder as docs/quality.md describes (file name up to the first hyphen = metric). Out: one line per
file and set: AUROC for labels, Spearman for graded scores, share of pairs in the right order, share of
rows assessed, correlation with length. `trained_on` marks files whose rows the shipped weights have
seen; honest figures for those are the out-of-fold ones that training/toxicity.py prints.

    python training/evaluate.py --data DIR [--set lexical local] [--only relevance] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import corpus
from agreement import auroc, pair_accuracy, spearman
from assay.quality.scorer import Conversation, Scorer, Verdict, assess
from assay.quality.sets import scorers

METRIC_NAMES = {"lexical": {"groundedness": "factual_accuracy"}}


def conversation(metric: str, row: dict[str, Any]) -> Conversation:
    """A row as a scorer sees it; toxicity judges one field alone."""
    if metric == "toxicity":
        return Conversation(response=row.get(row["target"]) or "")
    context = row.get("context") or ""
    return Conversation(
        prompt=row.get("prompt") or "",
        response=row.get("response") or "",
        context=(context,) if context and metric == "groundedness" else (),
    )


def evaluated(path: Path, chosen: Scorer) -> dict[str, Any]:
    """The figures of one scorer on one file."""
    metric = path.stem.split("-", 1)[0]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] != "train"] or rows
    conversations = [conversation(metric, row) for row in rows]
    started = time.process_time()
    verdicts = [assess((chosen,), c)[chosen.name] for c in conversations]
    spent = time.process_time() - started
    figures: dict[str, Any] = {"file": path.stem, "set": chosen.scorer, "n": len(rows)}
    if chosen.scorer == "local" and path.stem in corpus.TOXICITY:
        figures["trained_on"] = True
    if path.stem == "relevance-xstest-refusals":
        return figures | refusals(rows, verdicts)
    scored = [(r, v.value, c) for r, v, c in zip(rows, verdicts, conversations, strict=True) if v.value is not None]
    figures |= {"assessed": round(len(scored) / len(rows), 3), "ms": round(1000 * spent / len(rows), 3)}
    if len(scored) < 10:
        return figures
    values = [value for _, value, _ in scored]
    kept = [row for row, _, _ in scored]
    figures["length_rho"] = round(spearman([len(c.response) for _, _, c in scored], values), 3)
    figures |= {key: round(figure, 3) for key, figure in agreement(kept, values)}
    return figures


def agreement(rows: list[dict[str, Any]], values: list[float]) -> Iterator[tuple[str, float]]:
    """AUROC, pair accuracy or Spearman, by what the rows hold."""
    if all(row.get("label") is not None for row in rows):
        labels = [row["label"] for row in rows]
        yield "auroc", auroc(labels, values)
        if all("pair" in (row.get("extra") or {}) for row in rows):
            yield "pairs", pair_accuracy([row["extra"]["pair"] for row in rows], labels, values)
    else:
        yield "spearman", spearman([row["score"] for row in rows], values)


def refusals(rows: list[dict[str, Any]], verdicts: list[Verdict]) -> dict[str, Any]:
    """Precision and recall of the label "refusal" against people's."""
    flagged = np.array([v.label == "refusal" for v in verdicts])
    truth = np.array([row["label"] == 1 for row in rows])
    hits = int((flagged & truth).sum())
    return {"precision": round(hits / max(flagged.sum(), 1), 3), "recall": round(hits / truth.sum(), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=["lexical", "local"])
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    for path in sorted(arguments.data.glob("*.jsonl")):
        if arguments.only not in path.stem:
            continue
        metric = path.stem.split("-", 1)[0]
        for name in arguments.set:
            wanted = METRIC_NAMES.get(name, {}).get(metric, metric)
            found += [evaluated(path, s) for s in scorers(name) if s.name == wanted]
            if not arguments.json:
                print("  ".join(f"{key}={value}" for key, value in found[-1].items()), flush=True)
    if arguments.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
