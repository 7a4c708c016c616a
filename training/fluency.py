"""Count which class of English word follows which, for the word-salad part of the coherence score.

In: public texts (corpus.py; no labels are read). Out: src/assay/quality/weights/fluency.npz.

    python training/fluency.py --data DIR [--without SOURCE ...]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import corpus
from assay.quality.coherence import SHAPES, Fluency
from assay.quality.words import Words, load_words

OUT = Path(__file__).parent.parent / "src/assay/quality/weights/fluency.npz"
CLIP = 4.0


def log_ratios(counts: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """log P(b|a) / P(b) with `smoothing` pseudo-counts spread as P(b), clipped to +-CLIP."""
    follows = counts.sum(0) / counts.sum()
    given = (counts + smoothing * follows) / (counts.sum(1, keepdims=True) + smoothing)
    return np.clip(np.log(given / np.maximum(follows, 1e-9) + 1e-9), -CLIP, CLIP)


def counted(texts: list[str], words: Words, frequent: list[str]) -> NDArray[np.float64]:
    """How often each class follows each."""
    size = 1 + len(SHAPES) + len(frequent)
    counts = np.zeros((size, size))
    fluency = Fluency(frequent, np.zeros((size, size), np.float32), "")
    for text in texts:
        classes = np.array(fluency.classes(words.read(text, 600)))
        np.add.at(counts, (classes[:-1], classes[1:]), 1)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frequent", type=int, default=350, help="words with a class of their own")
    parser.add_argument("--smoothing", type=float, default=20.0)
    parser.add_argument("--without", nargs="*", default=[], help="sources left out, to measure on them")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()

    words = load_words()
    texts = corpus.texts(arguments.data, without=tuple(arguments.without))
    seen = Counter(w for text in texts for w in words.read(text, 600).lower if not w[0].isdigit())
    frequent = [word for word, _ in seen.most_common(arguments.frequent)]
    table = log_ratios(counted(texts, words, frequent), arguments.smoothing)
    scale = np.float32(CLIP / 127)
    np.savez_compressed(
        arguments.out,
        frequent=np.frombuffer("\n".join(frequent).encode(), np.uint8),
        table=np.round(table / scale).astype(np.int8),
        scale=scale,
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB from {len(texts)} texts")


if __name__ == "__main__":
    main()
