"""Heavier scorers: where a metric's settings say so, an ONNX model judges in the local scorer's place.

In: a conversation and its local verdict. Out: the model's verdict where the local score is in doubt and the
conversation is in the sample; else the local one. What the local scorer calls not assessable (a refusal, code,
nothing to check against) stays so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from assay.config import ONNX_KINDS, Onnx
from assay.errors import ConfigError
from assay.quality.onnx.files import MINILM, find_files
from assay.quality.onnx.kinds import judge
from assay.quality.onnx.model import OnnxModel
from assay.quality.scorer import Conversation, Scorer, Verdict, unknown, version_of

CODE = "onnx 1"
"""Counted up when the same numbers of a model would give another verdict."""
DEFAULT = {"relevance": Onnx(model=MINILM)}
_KNOWN = ", ".join(ONNX_KINDS)
RUN_TOGETHER = 8
"""Conversations whose inputs are run together: enough to find inputs of like length, and few, since the time limit
of one conversation holds for them all."""


def onnx_scorer(metric: str, settings: Onnx, local: Scorer) -> Scorer:
    """The scorer of `metric` by a model, beside the local one. Loads the model; raises ConfigError."""
    try:
        return OnnxScorer(metric, settings, local)
    except ConfigError as error:
        raise ConfigError(f"[quality.onnx.{metric}]: {error}") from None


def onnx_scorers(settings: Mapping[str, Onnx], local: Sequence[Scorer]) -> tuple[Scorer, ...]:
    """A scorer for every metric in `settings`; relevance by MiniLM where there are none."""
    by_name = {scorer.name: scorer for scorer in local}
    return tuple(onnx_scorer(metric, each, by_name[metric]) for metric, each in (settings or DEFAULT).items())


def model_for(metric: str, settings: Mapping[str, Onnx]) -> Onnx:
    """The model that is set for a metric, MiniLM for relevance. Raises ConfigError where there is none."""
    found = settings.get(metric) or DEFAULT.get(metric)
    if found is None:
        raise ConfigError(
            f"{metric} by onnx needs a model"
            + (f": set model in [quality.onnx.{metric}]" if metric in ONNX_KINDS else f"; only {_KNOWN} can have one")
        )
    return found


class OnnxScorer:
    """Scorer "onnx" of one metric. Thread-safe as far as the local scorer is."""

    scorer = "onnx"
    together = RUN_TOGETHER

    def __init__(self, metric: str, settings: Onnx, local: Scorer) -> None:
        self.name = metric
        self._settings = settings
        self._local = local
        self._model = OnnxModel(find_files(settings), settings)
        self._judge = judge(metric, self._model, settings)
        decides = settings.model_dump_json(exclude={"model", "revision", "file", "threads"})
        self.version = version_of(CODE, self._model.version, local.version, decides)

    def score(self, conversation: Conversation) -> Verdict:
        """The model's verdict or the local one. Raises ModelError where the model fails."""
        return self.score_all([conversation])[0]

    def score_all(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """The verdicts of many, in order, with the model run on inputs of like length together."""
        verdicts = [self._local.score(conversation) for conversation in conversations]
        chosen = [at for at, verdict in enumerate(verdicts) if self._escalates(conversations[at], verdict)]
        for start in range(0, len(chosen), RUN_TOGETHER):
            together = chosen[start : start + RUN_TOGETHER]
            for at, verdict in zip(together, self._judged([conversations[at] for at in together]), strict=True):
                verdicts[at] = verdict
        left = set(range(len(verdicts))) - set(chosen)
        return [_left(verdict) if at in left else verdict for at, verdict in enumerate(verdicts)]

    def _judged(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        tasks = [self._judge(conversation) for conversation in conversations]
        answers = self._model.run([each for task in tasks for each in task.inputs])
        found: list[Verdict] = []
        for task in tasks:
            read = answers[: len(task.inputs)]
            found.append(task.verdict(read) if read else unknown("not assessable: no text for the model", "short"))
            del answers[: len(task.inputs)]
        return found

    def _escalates(self, conversation: Conversation, local: Verdict) -> bool:
        if local.value is None:
            return False
        low, high = self._settings.in_doubt or (0.0, 1.0)
        return low <= local.value <= high and share_of(conversation) < self._settings.sample


def share_of(conversation: Conversation) -> float:
    """A place in 0..1 that is always the same for the same conversation: whether it is in a sample."""
    digest = hashlib.sha256(msgspec.json.encode(conversation)).digest()
    return int.from_bytes(digest[:7]) / (1 << 56)


def _left(verdict: Verdict) -> Verdict:
    """A local verdict that stands; one without a value is anyone's."""
    if verdict.value is None:
        return verdict
    return msgspec.structs.replace(verdict, reason=f"{verdict.reason} (by the local scorer)")
