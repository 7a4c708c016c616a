"""Texts for benchmarks that look things up: a long-tailed vocabulary, several scripts, hardly two alike."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SHARES = {"latin": 0.88, "han": 0.05, "kana": 0.02, "cyrillic": 0.03, "thai": 0.01, "arabic": 0.01}
"""How many of the texts are in which script."""

VOCABULARY = 50_000
SENTENCES = 60_000
_SYLLABLES = {
    "latin": ([*"bcdfghlmnprstv", "st", "pr", "tr"], [*"aeiou", "ea", "ou"]),
    "cyrillic": ([*"бвгдклмнпрст", "ст", "пр"], [*"аеиоуяё"]),
    "arabic": ([*"بتجدرسعفقكلمن"], [*"اوي"]),
}
_CHARACTERS = {
    "han": [chr(0x4E00 + 7 * n) for n in range(2500)],
    "kana": [chr(0x3042 + n) for n in range(80)] + [chr(0x30A2 + n) for n in range(80)],
    "thai": [chr(0x0E01 + n) for n in range(46)],
}
_LENGTHS = {"latin": 15, "cyrillic": 8, "arabic": 9, "han": 34, "kana": 34, "thai": 34}
"""Words or characters of a sentence: about 100 bytes."""

_OPEN, _CLOSE = '{"role":"%s","parts":[{"type":"text","content":"', '"}]},'


class Texts:
    """Pools of sentences, one a script, of about 100 bytes each; `rare` says which words come in how few of them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pools = {script: self._sentences(script) for script in SHARES}

    def some(self, count: int, size: int) -> pa.Array:
        """`count` texts of about `size` bytes, each in one script."""
        counts = self._rng.multinomial(count, list(SHARES.values()))
        parts = [
            self._joined(self._pools[script], n, max(size // 100, 1)) for script, n in zip(SHARES, counts, strict=True)
        ]
        return pa.concat_arrays(parts).take(pa.array(self._rng.permutation(count)))

    def turns(self, prompts: pa.Array, size: int, share: float = 0.2) -> pa.Array:
        """Message lists for a share of the prompts, with an earlier question and answer; "" for the rest."""
        earlier = [self.some(len(prompts), size) for _ in range(2)]
        said = [pc.replace_substring(text, "\n", "\\n") for text in (*earlier, prompts)]
        turns = zip(("user", "assistant", "user"), said, strict=True)
        parts = [part for role, text in turns for part in (_OPEN % role, text, _CLOSE)]
        lists = pc.replace_substring(pc.binary_join_element_wise("[", *parts, "]", ""), "},]", "}]")
        return pc.if_else(pa.array(self._rng.random(len(prompts)) < share), lists, "")

    def sentences(self, script: str) -> list[str]:
        """The pool of a script, the most common sentence no more so than any other."""
        return self._pools[script].to_pylist()

    def _joined(self, pool: pa.Array, count: int, sentences: int) -> pa.Array:
        picks = [pool.take(pa.array(self._rng.integers(0, len(pool), count))) for _ in range(sentences)]
        return pc.binary_join_element_wise(*picks, "\n")

    def _sentences(self, script: str) -> pa.Array:
        count = max(int(SENTENCES * SHARES[script]), 1000)
        words = np.array(_words(script) if script in _SYLLABLES else _CHARACTERS[script])
        # Zipf's law: the n-th most common word comes 1/n as often as the first.
        shares = 1 / np.arange(1, len(words) + 1)
        picks = self._rng.choice(len(words), (count, _LENGTHS[script]), p=shares / shares.sum())
        between, end = (" ", ".") if script in _SYLLABLES else ("", "。")
        return pa.array([between.join(row) + end for row in words[picks]])


def _words(script: str) -> list[str]:
    """Words of two and three syllables, the shorter ones more common."""
    heads, vowels = _SYLLABLES[script]
    syllables = ["".join(pair) for pair in product(heads, vowels)]
    words = ["".join(parts) for length in (2, 3) for parts in product(syllables, repeat=length)]
    return words[: len(syllables) ** 2] + words[len(syllables) ** 2 :: max(len(words) // VOCABULARY, 1)]
