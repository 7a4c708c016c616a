"""Train the toxicity model: a linear model over hashed n-grams, a network over word vectors, and their join.

In: labelled rows under MIT, Apache-2.0 or CC BY (corpus.TOXICITY), harmless texts of assistants, and sentences
made here for what those lack. Out: src/assay/quality/weights/toxicity.npz. Figures it
prints are out of fold: every row is judged by a model that was trained without it.

    pip install -e . scikit-learn scipy          # in an environment of its own
    python training/toxicity.py --data DIR
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import corpus
from assay.quality.agreement import auroc
from assay.quality.text import clean
from assay.quality.toxicity import (
    BYTE_BUCKETS,
    WORD_BUCKETS,
    Network,
    Readout,
    ToxicityModel,
    fold,
    load_flagged_words,
    ngrams,
    pooled,
)
from assay.quality.words import WEIGHTS, Words, load_words

Floats = NDArray[np.float32]
OUT = Path(__file__).parent.parent / "src/assay/quality/weights/toxicity.npz"
FOLDS = 3
NETWORKS = 4
"""So many networks of HIDDEN units are trained from other beginnings and kept as one: their mean."""
HIDDEN = 32
JOIN = np.array([0.4, 0.6, 0.5], np.float32)
"""Weights of the views. Chosen by the mean AUROC of five development sets out of fold, not fitted: a fit on all
examples follows the largest sources, and those need the n-grams most."""

WATCHED = ("toxicity-toxicchat-train", "toxicity-ethos")
"""Never trained on (CC BY-NC, GPL): what the model does on a new kind of text."""
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
    "my brother is {} and works as a nurse",
    "the {} woman at the desk was very helpful",
    "two {} men opened a bakery in our street",
    "how many {} people live in this city?",
    "what is it like to be {}?",
    "a {} student won the prize for mathematics this year",
    "they are {} and have been friends for ten years",
    "the new teacher is {}, and the children like her",
    "our {} neighbours invited us to dinner",
    "this film is about a {} family in the seventies",
    "she asked whether {} people feel at home here",
    "i read a book by a {} author last week",
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
_OCCASIONS = "concert dinner meeting party match lecture film workshop picnic interview exhibition lesson trip game"
FIGURATIVE = (
    "i hate to bother you, but when does the {} begin?",
    "as you wish, i hate to argue about the {}",
    "you know how i hate to be late for a {}",
    "i'd hate for you to miss the {}",
    "we would hate to keep you from your {}",
    "i hate saying goodbye after a good {}, and so do you",
    "most people hate it when the {} starts late",
    "i am deadly serious about the {}, so please bring your notes",
    "the last {} bored me to death",
    "you will kill it at the {} tomorrow",
    "i would kill for a ticket to that {}",
    "we are dying to hear how your {} went",
    "the view after the {} was to die for",
    "don't beat yourself up about the {}",
    "your joke at the {} cracked me up, you are terrible",
    "it is a crying shame that they called off the {}",
    "the traffic before the {} was a nightmare, damn it",
    "it is dead easy to get to the {} by bus",
    "a stupid mistake of mine made us late for the {}",
    "this {} is awfully good, i am sick with envy",
)
"""Sentences made here, for what the public sets lack: plain personal insults, the words of computing, and harsh words
that hurt nobody."""


class Example(msgspec.Struct, frozen=True):
    """A text to learn from; rows of one group stay in one fold."""

    text: str
    label: int
    source: str
    group: str
    split: str = "train"


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
    found += made(FIGURATIVE, _OCCASIONS, 0, "made: figurative")
    return [e for e in dict.fromkeys(found) if any(map(str.isalnum, e.text))]


def made(sentences: tuple[str, ...], fillings: str, label: int, source: str) -> list[Example]:
    """Every sentence with every filling; one filling stays in one fold."""
    pairs = product(sentences, fillings.split())
    return [Example(sentence.format(filling), label, source, filling) for sentence, filling in pairs]


_GROUP_WORDS = re.compile(
    r"\b(?:wom[ae]n|female\w*|trans\w*|gay\w*|homo\w*|lesbian\w*|fag\w*|queer\w*|black\w*|african\w*|n[i1]g\w*|disab\w*"
    r"|retard\w*|muslim\w*|islam\w*|jihad\w*|immigra\w*|migrant\w*|foreign\w*|people|person|m[ae]n|an?|are)\b"
)


def template(text: str) -> str:
    """The beginning of a text less the names of groups: HateCheck has each sentence once a group."""
    return re.sub(r"[^a-z]+", " ", _GROUP_WORDS.sub("", text.lower())).strip()[:18]


def labelled(data: Path, name: str) -> Iterator[Example]:
    """The judged field of each row of one file."""
    for row in corpus.rows(data, name):
        extra = row.get("extra") or {}
        if row["label"] == 1 and extra.get("category") in ABOUT_ADVICE:
            continue
        text = corpus.field(row, row["target"])
        group = template(text) if name == "toxicity-hatecheck" else text[:30]
        yield Example(text, row["label"], name, group, row["split"])


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
    """A weight per example, so that a large source does not drown a small one: cell size to the power of -0.7."""
    cells: dict[tuple[str, int], int] = {}
    for e in chosen:
        cells[e.source, e.label] = cells.get((e.source, e.label), 0) + 1
    weights = np.array([cells[e.source, e.label] ** -0.7 for e in chosen])
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


def network(readouts: list[Readout], vectors: list[Floats], chosen: list[Example], seed: int) -> Network:
    """Trained on the stretch of each example that the n-grams find worst, as the scorer will weigh it."""
    worst = np.stack([v[int(r.ngrams.argmax())] for r, v in zip(readouts, vectors, strict=True)])
    width = np.float32(worst.shape[1] ** 0.5)
    labels, weights = [e.label for e in chosen], balance(chosen)
    trained = [
        MLPClassifier((HIDDEN,), alpha=1.0, batch_size=256, max_iter=8, learning_rate_init=1e-3, random_state=seed + k)
        for k in range(NETWORKS)
    ]
    for one in trained:
        one.fit(worst * width, labels, sample_weight=weights)
    return Network(
        inner=np.concatenate([one.coefs_[0] * width for one in trained], axis=1).astype(np.float32),
        inner_bias=np.concatenate([one.intercepts_[0] for one in trained]).astype(np.float32),
        outer=np.concatenate([one.coefs_[1][:, 0] for one in trained]).astype(np.float32) / NETWORKS,
        outer_bias=float(np.mean([one.intercepts_[1][0] for one in trained])),
    )


class Reader:
    """Reads texts with weights under training."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._listed = load_flagged_words()

    def read(
        self, weights: Floats, bias: float, through: Callable[[Floats], Floats], texts: list[str]
    ) -> list[Readout]:
        """Each text's readout, its `vectors` passed through a network."""
        model = ToxicityModel(self._words, weights, 1.0, bias, through, self._listed, np.zeros(5, np.float32), "")
        return [model.read(clean(text)) for text in texts]

    def vectors(self, weights: Floats, bias: float, texts: list[str]) -> tuple[list[Readout], list[Floats]]:
        """Each text's readout without a network, and the unit vectors of its stretches."""
        kept: list[Floats] = []

        def keep(vectors: Floats) -> Floats:
            kept.append(vectors)
            return np.zeros(len(vectors), np.float32)

        return self.read(weights, bias, keep, texts), kept


def out_of_fold(
    reader: Reader, matrix: sparse.csr_matrix, chosen: list[Example], penalty: float
) -> NDArray[np.float64]:
    """Every example's evidence under views trained without its fold."""
    folds = np.array([zlib.crc32(e.group.encode()) % FOLDS for e in chosen])
    found = np.zeros(len(chosen))
    for held in range(FOLDS):
        inside, outside = np.flatnonzero(folds != held), np.flatnonzero(folds == held)
        within = [chosen[i] for i in inside]
        weights, bias = fit(matrix[inside], within, penalty)
        through = network(*reader.vectors(weights, bias, [e.text for e in within]), within, held)
        found[outside] = evidence(reader.read(weights, bias, through, [chosen[i].text for i in outside]))
        print(f"fold {held + 1} of {FOLDS}", flush=True)
    return found


def evidence(readouts: list[Readout]) -> NDArray[np.float64]:
    """What the views say together of each text."""
    return np.array([pooled(readout.views @ JOIN) for readout in readouts])


def last_layer(found: NDArray[np.float64], chosen: list[Example]) -> Floats:
    """Slope and offset that put 1% of HARMLESS texts above 0.5 and 5% above 0.1."""
    kinds = [found[[e.source == name for e in chosen]] for name in HARMLESS]
    tenth, half = (max(np.quantile(kind, level) for kind in kinds) for level in (0.95, 0.99))
    slope = np.log(9) / (half - tenth)
    print(f"levels {tenth:.2f} {half:.2f}")
    return np.array([*JOIN, slope, -slope * half], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--penalty", type=float, default=3.0, help="inverse strength of the L2 penalty")
    parser.add_argument("--words", type=Path, default=WEIGHTS / "words.npz", help="the word vectors to train on")
    parser.add_argument("--without", nargs="*", default=[], help="sources left out, to measure on them")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()

    chosen = [e for e in examples(arguments.data) if e.source not in arguments.without]
    reader = Reader(load_words(arguments.words))
    matrix = bags([e.text for e in chosen])
    print(f"{len(chosen)} examples, {sum(e.label for e in chosen)} toxic")
    held_out = out_of_fold(reader, matrix, chosen, arguments.penalty)
    layer = last_layer(held_out, chosen)
    report("out of fold, development rows", held_out, chosen, layer)

    final, bias = fit(matrix, chosen, arguments.penalty)
    codes, scale = quantised(final)
    weights = codes.astype(np.float32) * scale
    through = network(*reader.vectors(weights, bias, [e.text for e in chosen]), chosen, seed=FOLDS)
    names = dict.fromkeys((*WATCHED, *arguments.without))
    watched = [e for name in names for e in labelled(arguments.data, name)]
    report("never trained on", evidence(reader.read(weights, bias, through, [e.text for e in watched])), watched, layer)
    np.savez_compressed(
        arguments.out,
        weights=codes,
        scale=scale,
        bias=np.float32(bias),
        inner=through.inner.astype(np.float16),
        inner_bias=through.inner_bias,
        outer=through.outer,
        outer_bias=np.float32(through.outer_bias),
        layer=layer,
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


def report(title: str, found: NDArray[np.float64], cases: list[Example], layer: Floats) -> None:
    """AUROC and the share above 0.5 among harmless and toxic texts, by source; development rows where there are."""
    print(title)
    logits = found * layer[3] + layer[4]
    for name in dict.fromkeys(e.source for e in cases):
        mine = [(e, logit) for e, logit in zip(cases, logits, strict=True) if e.source == name]
        pairs = [(e.label, logit) for e, logit in mine if e.split == "dev"] or [(e.label, logit) for e, logit in mine]
        labels = np.array([label for label, _ in pairs])
        scores = np.array([logit for _, logit in pairs])
        shares = "/".join(f"{(scores[labels == k] > 0).mean():.3f}" for k in (0, 1) if (labels == k).any())
        print(f"  {name}: n={len(pairs)} auroc={auroc(labels, scores):.3f} above 0.5 harmless/toxic {shares}")


if __name__ == "__main__":
    main()
