"""Train the toxicity model: a linear model over hashed n-grams, and the layer that joins its views.

In: labelled rows under MIT, Apache-2.0 or CC BY (corpus.TOXICITY), harmless texts of assistants, and sentences
made here for what those lack. Out: src/assay/quality/weights/toxicity.npz. Figures it
prints are out of fold: every row is judged by a model that was trained without it.

    pip install -e . scikit-learn scipy          # in an environment of its own
    python training/toxicity.py --data DIR
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

import corpus
from assay.quality.agreement import auroc
from assay.quality.text import clean
from assay.quality.toxicity import (
    BYTE_BUCKETS,
    WORD_BUCKETS,
    ToxicityModel,
    fold,
    load_flagged_words,
    ngrams,
)

Floats = NDArray[np.float32]
OUT = Path(__file__).parent.parent / "src/assay/quality/weights/toxicity.npz"
FOLDS = 5

WATCHED = ("toxicity-wikipedia-talk", "toxicity-wikipedia-cat", "toxicity-toxicchat-train", "toxicity-ethos")
"""Never trained on (CC BY-SA text, CC BY-NC, GPL): what the model does on a new kind of text."""
HARMLESS = ("halueval", "refusals", "encyclopedia")
"""Natural harmless texts: of whichever kind scores worst, 1% get more than 0.5 and 5% more than 0.1."""
ABOUT_ADVICE = ("Risk Ignorance", "Unauthorized Expertise")
"""DiaSafety labels that mean bad advice, not toxic words."""

GROUPS = """
    american asian black blind brown catholic chinese christian deaf disabled elderly european female
    gay german hindu hispanic immigrant indian jewish latino lesbian male mexican muslim old queer
    refugee straight trans transgender white young
"""
NEUTRAL = (
    "i am {} and i like music",
    "my {} friend is a teacher",
    "my neighbour is {}",
    "{} people are welcome here",
    "we met a {} family at the market",
    "being {} is nothing to be ashamed of",
    "she is a {} doctor who loves her work",
    "i have nothing against {} people and i do not hate anyone",
    "the history of {} people in this country is long",
)

_INSULTS = """
    idiot moron fool loser imbecile coward clown liar jerk retard scumbag dumbass asshole bastard bitch creep
    pig freak failure disgrace
"""
_SLIGHTS = "stupid dumb pathetic worthless useless ugly disgusting idiotic ignorant lazy retarded fucking"
DIRECTED = (
    "you are a {}",
    "you're such a {}",
    "shut up, you {}",
    "only a {} would say that",
    "honestly, you are a {} for asking it",
    "read it yourself, you {}",
    "i hate you, {}, go away",
    "nobody likes a {} like you",
)
BELITTLING = (
    "that is a {} question and i hate it",
    "you are too {} to understand this",
    "i hate {} people like you",
    "stop wasting my time with your {} questions",
    "how {} can you be?",
    "what a {} thing to ask, go away",
)
_OBJECTS = "process thread server job container daemon session query transaction script build connection"
TECHNICAL = (
    "to kill the {} send it a signal",
    "the {} died because it ran out of memory",
    "abort the {} and execute it again",
    "the parent kills the child {} and removes the orphans",
    "dump the {} and destroy it when it hangs",
    "the {} failed with a fatal error, which is a silly mistake in the settings",
)
"""Sentences made here, for what the public sets lack: plain personal insults and the words of computing."""


class Example(msgspec.Struct, frozen=True):
    """A text to learn from; rows of one group stay in one fold."""

    text: str
    label: int
    source: str
    group: str


def examples(data: Path) -> list[Example]:
    """Labelled rows, harmless texts, and sentences made here."""
    found = [example for name in corpus.TOXICITY for example in labelled(data, name)]
    for row in corpus.rows(data, "groundedness-halueval-general-noctx"):
        for text in (corpus.field(row, "prompt"), corpus.field(row, "response")):
            found.append(Example(text, 0, "halueval", text[:30]))
    for row in corpus.rows(data, "relevance-xstest-refusals"):
        if row["extra"]["final_label"] == "2_full_refusal":
            found.append(Example(corpus.field(row, "response"), 0, "refusals", corpus.field(row, "prompt")))
    for row in corpus.rows(data, "groundedness-begin-wow") + corpus.rows(data, "groundedness-faithdial-audit"):
        found.append(Example(corpus.field(row, "context")[:600], 0, "encyclopedia", corpus.field(row, "context")[:30]))
    found += made(NEUTRAL, GROUPS, 0, "made: neutral")
    found += made(DIRECTED, _INSULTS, 1, "made: insults")
    found += made(BELITTLING, _SLIGHTS, 1, "made: belittling")
    found += made(TECHNICAL, _OBJECTS, 0, "made: technical")
    return [e for e in dict.fromkeys(found) if any(map(str.isalnum, e.text))]


def made(sentences: tuple[str, ...], fillings: str, label: int, source: str) -> list[Example]:
    """Every sentence with every filling; one filling stays in one fold."""
    pairs = product(sentences, fillings.split())
    return [Example(sentence.format(filling), label, source, filling) for sentence, filling in pairs]


def labelled(data: Path, name: str) -> Iterator[Example]:
    """The judged field of each row of one file."""
    for row in corpus.rows(data, name):
        extra = row.get("extra") or {}
        if row["label"] == 1 and extra.get("category") in ABOUT_ADVICE:
            continue
        text = corpus.field(row, row["target"])
        yield Example(text, row["label"], name, text[:30])


def bags(texts: list[str]) -> sparse.csr_matrix:
    """Rows whose dot product with the weights is what the scorer computes for a text of one stretch."""
    ends = [0]
    columns: list[Floats] = []
    values: list[Floats] = []
    for text in texts:
        grams = ngrams(fold(clean(text)))
        for buckets, offset in ((grams.bytes, 0), (grams.words, BYTE_BUCKETS)):
            columns.append(buckets.astype(np.int32) + offset)
            values.append(np.full(len(buckets), 1 / np.sqrt(max(len(buckets), 1)), np.float32))
        ends.append(ends[-1] + len(columns[-1]) + len(columns[-2]))
    shape = (len(texts), BYTE_BUCKETS + WORD_BUCKETS)
    matrix = sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape)
    matrix.sum_duplicates()
    return matrix


def balance(chosen: list[Example]) -> Floats:
    """A weight per example, so that a large source does not drown a small one: 1 / sqrt(cell size)."""
    cells: dict[tuple[str, int], int] = {}
    for e in chosen:
        cells[e.source, e.label] = cells.get((e.source, e.label), 0) + 1
    weights = np.array([cells[e.source, e.label] ** -0.5 for e in chosen])
    return weights * len(weights) / weights.sum()


def fit(matrix: sparse.csr_matrix, chosen: list[Example], penalty: float) -> tuple[Floats, float]:
    """Weights and bias of a logistic regression."""
    labels = [e.label for e in chosen]
    model = LogisticRegression(C=penalty, solver="liblinear").fit(matrix, labels, sample_weight=balance(chosen))
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def quantised(weights: Floats) -> tuple[NDArray[np.int8], np.float32]:
    """int8 weights and their scale; the largest 0.02% are clipped."""
    scale = np.float32(np.quantile(np.abs(weights[weights != 0]), 0.9998) / 127)
    return np.clip(np.round(weights / scale), -127, 127).astype(np.int8), scale


def features(weights: Floats, bias: float, texts: list[str]) -> NDArray[np.float64]:
    """The last layer's inputs of each text."""
    model = ToxicityModel(weights, bias, load_flagged_words(), np.zeros(3, np.float32), "")
    return np.array([model.read(clean(text)).features for text in texts])


def out_of_fold(matrix: sparse.csr_matrix, chosen: list[Example], penalty: float) -> NDArray[np.float64]:
    """Every example's features under a model trained without its fold."""
    folds = np.array([zlib.crc32(e.group.encode()) % FOLDS for e in chosen])
    found = np.zeros((len(chosen), 2))
    for held in range(FOLDS):
        inside = np.flatnonzero(folds != held)
        weights, bias = fit(matrix[inside], [chosen[i] for i in inside], penalty)
        outside = np.flatnonzero(folds == held)
        found[outside] = features(weights, bias, [chosen[i].text for i in outside])
        print(f"fold {held + 1} of {FOLDS}", flush=True)
    return found


def last_layer(found: NDArray[np.float64], chosen: list[Example]) -> Floats:
    """Layer weights and bias, on the scale of HARMLESS: where 1% and 5% of harmless texts lie."""
    layer = LogisticRegression(C=1.0).fit(found, [e.label for e in chosen], sample_weight=balance(chosen))
    scores = found @ layer.coef_[0]
    kinds = [scores[[e.source == name for e in chosen]] for name in HARMLESS]
    tenth, half = (max(np.quantile(kind, level) for kind in kinds) for level in (0.95, 0.99))
    stretch = np.log(9) / (half - tenth)
    print("layer", layer.coef_.round(2), f"levels {tenth:.2f} {half:.2f}")
    return np.append(stretch * layer.coef_[0], -stretch * half).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--penalty", type=float, default=3.0, help="inverse strength of the L2 penalty")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()

    chosen = examples(arguments.data)
    matrix = bags([e.text for e in chosen])
    print(f"{len(chosen)} examples, {sum(e.label for e in chosen)} toxic")
    held_out = out_of_fold(matrix, chosen, arguments.penalty)
    layer = last_layer(held_out, chosen)
    report("out of fold", held_out, [(e.source, e.label) for e in chosen], layer)

    final, bias = fit(matrix, chosen, arguments.penalty)
    codes, scale = quantised(final)
    weights = codes.astype(np.float32) * scale
    watched = [example for name in WATCHED for example in labelled(arguments.data, name)]
    found = features(weights, bias, [e.text for e in watched])
    report("never trained on", found, [(e.source, e.label) for e in watched], layer)
    np.savez_compressed(arguments.out, weights=codes, scale=scale, bias=np.float32(bias), layer=layer)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


def report(title: str, found: NDArray[np.float64], cases: list[tuple[str, int]], layer: Floats) -> None:
    """AUROC and the share above 0.5 among harmless and toxic texts, by source."""
    print(title)
    logits = found @ layer[:-1] + layer[-1]
    for name in dict.fromkeys(source for source, _ in cases):
        pairs = [(label, logit) for (source, label), logit in zip(cases, logits, strict=True) if source == name]
        labels = np.array([label for label, _ in pairs])
        scores = np.array([logit for _, logit in pairs])
        shares = "/".join(f"{(scores[labels == k] > 0).mean():.3f}" for k in (0, 1) if (labels == k).any())
        print(f"  {name}: n={len(pairs)} auroc={auroc(labels, scores):.3f} above 0.5 harmless/toxic {shares}")


if __name__ == "__main__":
    main()
