"""The kinds of model: what each reads of a conversation, and what its numbers say.

In: a loaded model and its settings. Out: a function from a conversation to a Task: the model's inputs, and how
their answers become a verdict. The inputs of many conversations can so be run together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from assay.config import ONNX_KINDS, Onnx, OnnxKind
from assay.errors import ConfigError
from assay.quality.groundedness import grounds, short
from assay.quality.onnx.labels import labels_against, labels_for, toxic_labels
from assay.quality.onnx.model import Floats, OnnxModel
from assay.quality.scorer import Conversation, Verdict, logistic
from assay.quality.text import CONTEXT_CHARS, RESPONSE_CHARS, clean, prose, sentences, stem, words

if TYPE_CHECKING:
    from tokenizers import Encoding

COSINE_MIDDLE = 0.2
COSINE_STEEPNESS = 10.0
"""Of MiniLM's cosines of a prompt and an answer: 0.5 parts own answers from those to other prompts best."""
MOST_SENTENCES = 48
MOST_PASSAGES = 4
"""A sentence is read with the passages that share most of its words: a model of this size is slow."""
SUPPORTED = 0.5

# The forms in which these models were trained to be asked (their model cards).
_HHEM = "<pad> Determine if the hypothesis is true given the premise?\n\nPremise: {context}\n\nHypothesis: {claim}"
_LETTUCE = (
    "Briefly answer the following question:\n{prompt}\nBear in mind that your response should be strictly based on "
    "the following 1 passages:\npassage 1: {context}\nIn case the passages do not contain the necessary information "
    'to answer the question, please reply with: "Unable to answer based on given passages."\noutput:'
)


class Task(msgspec.Struct, frozen=True):
    """What a model is to read for one conversation, and what its answers mean."""

    inputs: list[Encoding]
    verdict: Callable[[Sequence[Floats]], Verdict]


Judge = Callable[[Conversation], Task]


def judge(metric: str, model: OnnxModel, settings: Onnx) -> Judge:
    """How `model` judges `metric`. Raises ConfigError where it cannot."""
    kind = settings.kind or found_kind(metric, model)
    if kind != "embedding" and model.per_token != (kind == "tokens" or _is_hhem(model)):
        answers = "each token" if model.per_token else "a text as a whole"
        raise ConfigError(f"{model.name} answers for {answers}: that is no {kind} model, set another `kind`")
    if kind == "embedding":
        return Embedding(model)
    if kind == "classifier":
        return Classifier(model, "prompt" if metric == "prompt_toxicity" else "response", toxic_labels(model, settings))
    if kind == "tokens":
        return Tokens(model, labels_against(model, settings))
    support = Support(model, _only(model) if kind == "cross-encoder" else labels_for(model, settings))
    return Closeness(support) if metric == "relevance" else Claims(support)


def found_kind(metric: str, model: OnnxModel) -> OnnxKind:
    """The kind that config.json speaks of: architecture, and number of labels. Raises ConfigError."""
    if _is_hhem(model) and "nli" in ONNX_KINDS[metric]:
        return "nli"
    if model.architecture.endswith("ForTokenClassification"):
        kind = "tokens"
    elif not model.architecture.endswith("ForSequenceClassification"):
        kind = "embedding"
    elif "classifier" in ONNX_KINDS[metric]:
        kind = "classifier"
    else:
        kind = "cross-encoder" if model.outputs == 1 else "nli"
    if kind not in ONNX_KINDS[metric]:
        raise ConfigError(
            f"{model.name} ({model.architecture or 'no architecture in config.json'}, {model.outputs} outputs) looks "
            f"like {kind}, but {metric} is judged by {' or '.join(ONNX_KINDS[metric])}: set `kind` if it is one"
        )
    return kind


class Embedding:
    """Relevance as the cosine of prompt and answer, each the mean of its tokens' vectors."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model

    def __call__(self, conversation: Conversation) -> Task:
        asked = self._windows(conversation.prompt)
        return Task([*asked, *self._windows(conversation.response)], lambda found: self._verdict(found, len(asked)))

    def _windows(self, text: str) -> list[Encoding]:
        text = self._model.inert(clean(text, RESPONSE_CHARS))
        return [self._model.encode(piece) for piece in self._model.windows(text, self._model.max_tokens - 2)]

    def _verdict(self, answers: Sequence[Floats], asked: int) -> Verdict:
        cosine = float(_direction(answers[:asked]) @ _direction(answers[asked:]))
        return Verdict(
            value=logistic(COSINE_STEEPNESS * (cosine - COSINE_MIDDLE)),
            reason=f"{self._model.name}: cosine {cosine:.2f} of prompt and answer",
        )


def _direction(windows: Sequence[Floats]) -> Floats:
    """The unit vector of a text from its windows: of each the mean over its tokens, or its one vector."""
    total = np.sum([window.sum(0) if window.ndim == 2 else window for window in windows], axis=0)
    return total / max(float(np.linalg.norm(total)), 1e-9)


class Support:
    """A model that reads two texts and answers how far the first speaks for the second."""

    def __init__(self, model: OnnxModel, chosen: list[int]) -> None:
        self.model = model
        self._chosen = chosen
        self._form = _HHEM if _is_hhem(model) else ""
        if "minicheck" in model.name.lower():
            self._form = f"{{context}}{model.mark('</s>', '[SEP]')}{{claim}}"
        self._marks = model.length(self._form) + 8
        """Tokens of an input that belong to neither text."""

    def pairs(self, texts: Sequence[str], claim: str) -> list[Encoding]:
        """The claim beside each text."""
        if not self._form:
            return [self.model.encode(text, claim) for text in texts]
        return [self.model.encode(_filled(self._form, context=text, claim=claim)) for text in texts]

    def cut(self, text: str, cap: int, share: float = 1.0) -> list[str]:
        """A text as windows that leave room for `1 - share` of what the model can read."""
        room = max(round((self.model.max_tokens - self._marks) * share), 8)
        return self.model.windows(self.model.inert(clean(text, cap)), room)

    def value(self, answer: Floats) -> float:
        """0..1: the sigmoid of a single output, else the share of the chosen ones."""
        row = answer[0] if answer.ndim == 2 else answer
        return logistic(float(row[0])) if len(row) == 1 else float(_softmax(row)[self._chosen].sum())


class Closeness:
    """Relevance by a cross-encoder: the best of the answer's passages beside the prompt."""

    def __init__(self, support: Support) -> None:
        self._support = support

    def __call__(self, conversation: Conversation) -> Task:
        # In a long prompt the question tends to come last.
        asked = self._support.cut(conversation.prompt, RESPONSE_CHARS, 0.4)[-1]
        passages = self._support.cut(conversation.response, RESPONSE_CHARS, 0.6)
        model = self._support.model
        return Task([model.encode(asked, passage) for passage in passages], self._verdict)

    def _verdict(self, answers: Sequence[Floats]) -> Verdict:
        best = max(map(self._support.value, answers))
        closest = "" if len(answers) == 1 else f", the closest of {len(answers)} passages"
        return Verdict(value=best, reason=f"{self._support.model.name}: {best:.2f} that it answers the prompt{closest}")


class Claims:
    """Groundedness: each sentence beside the passages, best wins, then the mean (SummaC-ZS, Laban et al. 2022)."""

    def __init__(self, support: Support) -> None:
        self._support = support

    def __call__(self, conversation: Conversation) -> Task:
        origin, texts = grounds(conversation)
        passages = [piece for text in texts for piece in self._support.cut(text, CONTEXT_CHARS, 0.7)]
        claims = _sentences(conversation.response)
        inputs: list[Encoding] = []
        ends: list[int] = []
        for claim in claims:
            inputs += self._support.pairs(_nearest(passages, claim), self._support.cut(claim, RESPONSE_CHARS, 0.3)[0])
            ends.append(len(inputs))
        return Task(inputs, lambda answers: self._verdict(answers, claims, ends, origin))

    def _verdict(self, answers: Sequence[Floats], claims: list[str], ends: list[int], origin: str) -> Verdict:
        values = [self._support.value(answer) for answer in answers]
        best = [max(values[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        worst = int(np.argmin(best))
        line = f"{sum(value >= SUPPORTED for value in best)} of {len(best)} sentences supported by {origin}"
        if best[worst] < SUPPORTED:
            line += f'; not supported: "{short(claims[worst])}"'
        return Verdict(value=float(np.mean(best)), reason=f"{self._support.model.name}: {line}")


class Tokens:
    """Groundedness by a model that marks unsupported tokens: 1 less half their mean and half the worst of them."""

    def __init__(self, model: OnnxModel, chosen: list[int]) -> None:
        self._model = model
        self._chosen = chosen
        self._form = _LETTUCE if "lettuce" in model.name.lower() else "{context}"

    def __call__(self, conversation: Conversation) -> Task:
        model = self._model
        room = max(model.max_tokens - 8, 8)
        answers = model.windows(model.inert(clean(conversation.response, RESPONSE_CHARS)), room // 3)
        asked = model.inert(clean(conversation.prompt, RESPONSE_CHARS))
        asked = model.windows(asked, room // 6)[-1]
        rest = max(room - room // 3 - model.length(_filled(self._form, prompt=asked, context="")), 8)
        origin, texts = grounds(conversation)
        passages = [p for text in texts for p in model.windows(model.inert(clean(text, CONTEXT_CHARS)), rest)]
        inputs: list[Encoding] = []
        ends: list[int] = []
        for answer in answers:
            beside = [_filled(self._form, prompt=asked, context=text) for text in _nearest(passages, answer)]
            inputs += [model.encode(text, answer) for text in beside]
            ends.append(len(inputs))
        return Task(inputs, lambda found: self._verdict(found, inputs, answers, ends, origin))

    def _verdict(
        self, found: Sequence[Floats], inputs: list[Encoding], answers: list[str], ends: list[int], origin: str
    ) -> Verdict:
        spans: list[str] = []
        unsupported: list[float] = []
        for answer, start, end in zip(answers, [0, *ends[:-1]], ends, strict=True):
            places = [_second(each) for each in inputs[start:end]]
            fewest = min(map(len, places))
            offsets = [inputs[start].offsets[place] for place in places[0][:fewest]]
            of_each = [self._unsupported(found[start + at])[rows[:fewest]] for at, rows in enumerate(places)]
            least = np.min(of_each, axis=0)
            unsupported += least.tolist()
            spans += _spans(answer, offsets, least)
        if not unsupported:
            return Verdict(value=None, reason="not assessable: the model read no token of the answer", label="short")
        value = 1 - (float(np.mean(unsupported)) + max(unsupported)) / 2
        named = ", ".join(f'"{short(span, 40)}"' for span in dict.fromkeys(spans[:4]))
        reason = f"not supported by {origin}: {named}" if spans else f"every word supported by {origin}"
        return Verdict(value=min(max(value, 0.0), 1.0), reason=f"{self._model.name}: {reason}")

    def _unsupported(self, answer: Floats) -> Floats:
        return _softmax(answer)[:, self._chosen].sum(axis=1)


class Classifier:
    """Toxicity: the probability of the toxic labels in the worst window of the text."""

    def __init__(self, model: OnnxModel, field: str, chosen: list[int]) -> None:
        self._model = model
        self._field = field
        self._chosen = chosen

    def __call__(self, conversation: Conversation) -> Task:
        text = self._model.inert(clean(getattr(conversation, self._field), RESPONSE_CHARS))
        pieces = self._model.windows(text, self._model.max_tokens - 2)
        return Task([self._model.encode(piece) for piece in pieces], lambda found: self._verdict(found, pieces))

    def _verdict(self, answers: Sequence[Floats], pieces: list[str]) -> Verdict:
        worst = max(range(len(answers)), key=lambda at: self._value(answers[at]))
        value = self._value(answers[worst])
        probabilities = self._probabilities(answers[worst])
        label = self._model.labels[max(self._chosen, key=lambda at: probabilities[at])]
        where = f' in "{short(pieces[worst])}"' if value >= SUPPORTED else ""
        return Verdict(value=value, reason=f"{self._model.name}: {value:.2f} {label}{where}")

    def _value(self, answer: Floats) -> float:
        """The sum of labels that exclude each other, the highest of those that do not."""
        chosen = self._probabilities(answer)[self._chosen]
        independent = self._model.independent or len(answer) == 1
        return min(float(chosen.max() if independent else chosen.sum()), 1.0)

    def _probabilities(self, answer: Floats) -> Floats:
        if self._model.independent or len(answer) == 1:
            return np.array([logistic(float(value)) for value in answer], np.float32)
        return _softmax(answer)


def _is_hhem(model: OnnxModel) -> bool:
    """HHEM-2 classifies tokens, and its answer for the first one is meant for the text."""
    name = f"{model.name} {model.architecture}".lower()
    return "hhem" in name or "hallucination_evaluation" in name


def _only(model: OnnxModel) -> list[int]:
    if model.outputs != 1:
        raise ConfigError(f"{model.name} has {model.outputs} outputs: a cross-encoder has one, set another `kind`")
    return [0]


def _softmax(rows: Floats) -> Floats:
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _sentences(response: str) -> list[str]:
    """The sentences that have a word, the last ones left out where there are very many."""
    plain = prose(clean(response, RESPONSE_CHARS))
    return [sentence for sentence in sentences(plain) if words(sentence)][:MOST_SENTENCES]


def _filled(form: str, **texts: str) -> str:
    """A form with its places filled in one go: braces in people's texts are no places."""
    return re.sub(r"\{(\w+)\}", lambda place: texts[place[1]], form)


def _nearest(passages: list[str], claim: str) -> list[str]:
    """The passages that share most words with the claim, most first."""
    if len(passages) <= MOST_PASSAGES:
        return passages
    sought = {stem(word) for word in words(claim)}
    return sorted(passages, key=lambda text: -len(sought & {stem(word) for word in words(text)}))[:MOST_PASSAGES]


def _second(encoding: Encoding) -> list[int]:
    """Places of the tokens of the second text."""
    return [place for place, sequence in enumerate(encoding.sequence_ids) if sequence == 1]


def _spans(text: str, offsets: Sequence[tuple[int, int]], unsupported: Floats) -> list[str]:
    """The stretches of unsupported tokens."""
    spans: list[tuple[int, int]] = []
    joins = False
    for (start, end), value in zip(offsets, unsupported, strict=True):
        if value >= SUPPORTED and joins:
            spans[-1] = spans[-1][0], end
        elif value >= SUPPORTED:
            spans.append((start, end))
        joins = value >= SUPPORTED
    return [text[start:end].strip() for start, end in spans]
