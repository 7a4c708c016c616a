"""One ONNX model on the CPU: text in, rows of numbers out.

In: the files of a model. Out: for each text or pair of texts, what the graph answers, float32: (n,) for a model
that answers once, (tokens, n) for one that answers for every token. Needs the extra `onnx`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.config import Onnx
from assay.errors import AssayError, ConfigError
from assay.quality.onnx.files import Files
from assay.quality.scorer import version_of

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Floats = NDArray[np.float32]

VOCABULARY = Path(__file__).parents[1] / "weights" / "bert_vocabulary.txt"
OVERLAP = 8
"""Windows over a long text share an eighth of their tokens."""
MOST_ROWS = 8
MOST_TOKENS = 256
"""Most rows, and most tokens with padding, of one run: on one core MiniLM reads short texts a quarter faster by eight
than one by one, and windows of 256 tokens a tenth slower, so these go alone."""
_ANSWERS = ("logits", "sentence_embedding", "last_hidden_state", "token_embeddings")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_OFFSET_POSITIONS = 2
"""RoBERTa and its kin count positions from the padding token's: two fewer tokens fit than there are positions."""


class ModelError(AssayError):
    """A model that loads but cannot be run on a text."""


class OnnxModel:
    """A graph with its tokenizer. Thread-safe: nothing changes after it is made."""

    def __init__(self, files: Files, settings: Onnx) -> None:
        """Load and try the model once. Raises ConfigError where it cannot be used."""
        self.name = files.name
        self.architecture: str = (files.config.get("architectures") or [""])[0]
        self.labels = _labels(files.config)
        self.independent = files.config.get("problem_type") == "multi_label_classification"
        self.version = _hash(files.parts)
        self._padding: int = files.config.get("pad_token_id") or 0
        positions: int = files.config.get("max_position_embeddings") or settings.max_tokens + _OFFSET_POSITIONS
        self.max_tokens = min(settings.max_tokens, positions - _OFFSET_POSITIONS)
        self._tokenizer = _tokenizer(files, self.max_tokens)
        self._special = _special(self._tokenizer)
        self._session = _session(files.graph, settings.threads)
        self._inputs = self._known_inputs(files.graph)
        self._answer = self._answer_name()
        # Activations quantised at run time share one range for all rows: a row would depend on its neighbours.
        self._most_rows = 1 if _mentions(files.graph, b"DynamicQuantizeLinear") else MOST_ROWS
        self.outputs, self.per_token = self._tried(files.graph)
        self.labels = self.labels or tuple(f"LABEL_{place}" for place in range(self.outputs))

    def inert(self, text: str) -> str:
        """The text without what the tokenizer would take for its own marks, such as "[SEP]" or "</s>"."""
        return self._special.sub(" ", text) if self._special else text

    def windows(self, text: str, size: int) -> list[str]:
        """The text cut into overlapping pieces of at most `size` tokens; at least one piece."""
        spans = self._tokenizer.encode(text, add_special_tokens=False)
        offsets = [offset for each in (spans, *spans.overflowing) for offset in each.offsets]
        if len(offsets) <= size:
            return [text]
        step = max(size - size // OVERLAP, 1)
        starts = range(0, max(len(offsets) - size, 0) + step, step)
        pieces = [offsets[start : start + size] for start in starts]
        return [text[piece[0][0] : piece[-1][1]] for piece in pieces if piece]

    def length(self, text: str) -> int:
        """How many tokens a text has, up to the model's most."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, first: str, second: str | None = None) -> Encoding:
        """One input of the model, with its marks; what is over `max_tokens` is cut from the longer text."""
        return self._tokenizer.encode(first, second)

    def mark(self, *names: str) -> str:
        """The first of these marks that the tokenizer has, "" where it has none."""
        return next((name for name in names if self._tokenizer.token_to_id(name) is not None), "")

    def run(self, encodings: Sequence[Encoding]) -> list[Floats]:
        """What the graph answers to each input, in order. Raises ModelError."""
        answers: list[Any] = [None] * len(encodings)
        for batch in self._batches(encodings):
            found = self._run([encodings[at] for at in batch])
            for at, answer in zip(batch, found, strict=True):
                answers[at] = answer[: len(encodings[at].ids)] if answer.ndim == 2 else answer
        return answers

    def _batches(self, encodings: Sequence[Encoding]) -> Iterator[list[int]]:
        """Places of inputs of like length, so that little is padded."""
        batch: list[int] = []
        for at in sorted(range(len(encodings)), key=lambda at: len(encodings[at].ids)):
            longest = len(encodings[at].ids)
            if batch and (len(batch) >= self._most_rows or longest * (len(batch) + 1) > MOST_TOKENS):
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _run(self, batch: Sequence[Encoding]) -> Floats:
        longest = max(len(each.ids) for each in batch)
        feed = {
            "input_ids": _padded([each.ids for each in batch], longest, self._padding),
            "attention_mask": _padded([each.attention_mask for each in batch], longest),
            "token_type_ids": _padded([each.type_ids for each in batch], longest),
            "position_ids": np.tile(np.arange(longest), (len(batch), 1)),
        }
        try:
            (answer,) = self._session.run(
                [self._answer], {name: feed[name].astype(kind) for name, kind in self._inputs.items()}
            )
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise ModelError(f"{self.name} failed on {len(batch)} x {longest} tokens: {error}") from error
        return np.asarray(answer, np.float32)

    def _known_inputs(self, graph: Path) -> dict[str, type[Any]]:
        found = {each.name: np.int32 if "int32" in each.type else np.int64 for each in self._session.get_inputs()}
        if "input_ids" not in found or not found.keys() <= _INPUTS:
            raise ConfigError(
                f"{graph} takes {', '.join(found)}: an encoder takes input_ids and may take "
                f"{', '.join(sorted(_INPUTS - {'input_ids'}))}"
            )
        return found

    def _answer_name(self) -> str:
        names = [each.name for each in self._session.get_outputs()]
        return next((name for name in _ANSWERS if name in names), names[0])

    def _tried(self, graph: Path) -> tuple[int, bool]:
        """How many numbers the graph answers, and whether for each token."""
        try:
            (answer,) = self.run([self.encode("a")])
        except ModelError as error:
            raise ConfigError(f"{graph} cannot be run: {error}") from None
        outputs = answer.shape[-1] if answer.ndim in (1, 2) else 0
        if not outputs:
            raise ConfigError(f"{graph} answers {self._answer} of shape {answer.shape}: (n,) or (tokens, n) is needed")
        if self._answer == "logits" and self.labels and len(self.labels) != outputs:
            raise ConfigError(f"{graph} has {outputs} outputs, config.json names {len(self.labels)} labels")
        return outputs, answer.ndim == 2


def bert_tokenizer(vocabulary: Path = VOCABULARY) -> Tokenizer:
    """BERT's uncased WordPiece tokenizer (Devlin et al. 2019), which all-MiniLM-L6-v2 is read with."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokens = {token: place for place, token in enumerate(vocabulary.read_text(encoding="utf-8").split("\n"))}
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))  # noqa: S106 a token, not a password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, tokens[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(marks)
    return tokenizer


def _tokenizer(files: Files, max_tokens: int) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise _missing_extra() from None
    if files.tokenizer is None:
        tokenizer = bert_tokenizer()
    else:
        try:
            tokenizer = Tokenizer.from_file(str(files.tokenizer))
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigError(f"{files.tokenizer} is not a tokenizer of the tokenizers library: {error}") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _special(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    marks = [re.escape(token.content) for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    return re.compile("|".join(marks)) if marks else None


def _session(graph: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise _missing_extra() from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise ConfigError(f"{graph} cannot be loaded: {error}") from None


def _missing_extra() -> ConfigError:
    return ConfigError("ONNX models need onnxruntime and tokenizers: pip install 'assay[onnx]'")


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """Names by output; () where config.json names none."""
    named: dict[str, Any] = config.get("id2label") or {}
    return tuple(str(named[key]) for key in sorted(named, key=int))


def _mentions(graph: Path, operator: bytes) -> bool:
    with graph.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(operator) >= 0


def _padded(rows: Sequence[Sequence[int]], longest: int, value: int = 0) -> NDArray[np.int64]:
    padded = np.full((len(rows), longest), value, np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def _hash(parts: Sequence[Path]) -> str:
    digests: list[str] = []
    for path in parts:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return version_of(*digests)
