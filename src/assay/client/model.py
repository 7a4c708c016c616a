"""MonitoredModel: a classical model as it was, whose predictions are logged in the background.

model = assay.MonitoredModel(forest, "churn", "2026-11")
model.predict(X, keys=customer_ids)          # what forest.predict(X) answers
assay.label("customer-17", "left")           # when it is known
"""

from __future__ import annotations

import functools
import inspect
import secrets
import threading
import time
import types
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

from assay.client import setup
from assay.client.frames import NotLoggable, copied, is_scalar, row_count, same, size_of
from assay.client.labels import label
from assay.client.model_calls import DECISION, PREFIX, PROBABILITIES, Described, ModelCall, case_text, digest, encode
from assay.client.row_delivery import RowSender, row_sender

METHODS = ("predict", PROBABILITIES, DECISION)
TOGETHER_SECONDS = 10.0
"""A thread that asks another method about the same input within this time asks about the same cases."""

MAX_MESSAGE = 2_000
REMEMBERED_BYTES = 8 * 2**20

Task = Literal["classification", "regression"]

_OWN_TYPES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_collecting: ContextVar[list[str] | None] = ContextVar("assay_prediction_ids", default=None)


class MonitoredModel:
    """A model that behaves as the wrapped one and logs each row that `predict`, `predict_proba`, `decision_function`,
    or a call of it, answers: features by name, prediction, probabilities, latency, and errors.

    Attributes, pickling, copying and exceptions are the wrapped model's; what methods return is what it returned. These
    methods take `keys=` besides: what the application knows each row by, for `assay.label`. Logging never raises, and
    never changes what the model does; what cannot be logged is counted in `monitoring` and logged once.

    `feature_names` name the columns of inputs without names (default: the model's `feature_names_in_`, else f0, f1).
    `classes` name those of a model that does not (default: its `classes_`); where its `predict` gives numbers that are
    probabilities, of each class or of the second of two, they are taken as such. `task` is found from the model, else
    from what it predicts. With `probabilities`, `predict` also asks `predict_proba`, so that the confidence is known:
    that takes the time of a second prediction. Where the application asks both itself, that is one row.
    `project`, `service` and `environment` are those of `assay.init` unless given. `clock` tells when a prediction is
    made, as Unix seconds: another than the present for a replay of what was before (copies have the present again).
    """

    def __new__(cls, model: Any, *_: Any, **__: Any) -> MonitoredModel:
        inner = object.__getattribute__(model, "_assay_model") if _is_monitored(model) else model
        return object.__new__(_wrapper_of(type(inner)))

    def __init__(
        self,
        model: Any,
        name: str,
        version: str = "",
        *,
        feature_names: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None,
        task: Task | None = None,
        probabilities: bool = False,
        project: str | None = None,
        service: str | None = None,
        environment: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        own: Callable[[str, Any], None] = functools.partial(object.__setattr__, self)
        own("_assay_model", object.__getattribute__(model, "_assay_model") if _is_monitored(model) else model)
        own(
            "_assay_settings",
            {
                "name": name,
                "version": version,
                "feature_names": feature_names,
                "classes": classes,
                "task": task,
                "probabilities": probabilities,
                "project": project,
                "service": service,
                "environment": environment,
            },
        )
        own("_assay_clock", clock)
        own("_assay_last", threading.local())
        own("_assay_counts", {"logged": 0, "not_logged": 0, "problem": ""})

    @property
    def monitoring(self) -> dict[str, Any]:
        """Rows that were `logged` and `not_logged` so far in this process, and the last `problem`."""
        return dict(self._assay_counts)

    def label(self, case: Any, value: Any) -> None:
        """Tell what turned out to be true of this model's cases: as `assay.label`, one or many."""
        common = self._assay_describe().common
        label(case, value, model=common["model"], project=common.get("project"))

    @contextmanager
    def collect_ids(self) -> Generator[list[str]]:
        """A list to which the prediction ids of all rows are added that this thread or task logs inside, in order."""
        ids = list[str]()
        token = _collecting.set(ids)
        try:
            yield ids
        finally:
            _collecting.reset(token)

    def log_reference(self, X: Any, y: Any = None) -> None:
        """Store rows that later ones are compared with, such as the training set, and their labels `y`.

        Asks the model for its predictions of them. The same rows are stored once, however often this is called; other
        rows under the same version are added. Returns when they are on their way, and never raises.
        """
        try:
            self._assay_refer(X, y)
        except NotLoggable as error:
            self._assay_outcome("not_logged", row_count(X), str(error))
        except Exception as error:
            self._assay_outcome("not_logged", row_count(X), f"log_reference: {error!r}")

    def __getattr__(self, name: str) -> Any:
        model = object.__getattribute__(self, "_assay_model")
        attribute = getattr(model, name)
        return self._assay_logging(name, attribute) if name in METHODS and callable(attribute) else attribute

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._assay_model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._assay_model, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._assay_model), "collect_ids", "label", "log_reference", "monitoring"})

    def __repr__(self) -> str:
        return f"MonitoredModel({self._assay_model!r}, {self._assay_settings['name']!r})"

    def __reduce__(self) -> Any:
        return _restored, (self._assay_model, self._assay_settings)

    def __copy__(self) -> MonitoredModel:
        import copy

        return _restored(copy.copy(self._assay_model), self._assay_settings)

    def __deepcopy__(self, memo: dict[int, Any]) -> MonitoredModel:
        import copy

        return _restored(copy.deepcopy(self._assay_model, memo), self._assay_settings)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride] isinstance(model, RandomForestClassifier) stays true
        kind = type(self._assay_model)
        return type(self) if issubclass(kind, _OWN_TYPES) else kind

    def _assay_logging(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, with its calls logged."""

        @functools.wraps(method)
        def logged(*args: Any, **kwargs: Any) -> Any:
            keys = kwargs.pop("keys", None) if "keys" in kwargs and not _takes_keys(method) else None
            return self._assay_call(name, method, args, kwargs, keys)

        return logged

    def _assay_call(self, name: str, method: Callable[..., Any], args: Any, kwargs: Any, keys: Any) -> Any:
        before = self._assay_guarded(lambda: _seen(name, method, args, kwargs, keys))
        at_us, began = round(self._assay_clock() * 1e6), time.perf_counter()
        try:
            answer = method(*args, **kwargs)
        except Exception as error:
            latency_ms = (time.perf_counter() - began) * 1000
            if before:
                failed = (type(error).__qualname__, str(error)[:MAX_MESSAGE])
                self._assay_guarded(lambda: self._assay_log(before, name, None, at_us, latency_ms, failed))
            raise
        latency_ms = (time.perf_counter() - began) * 1000
        if before:
            self._assay_guarded(lambda: self._assay_log(before, name, answer, at_us, latency_ms, None))
        return answer

    def _assay_guarded(self, work: Callable[[], Any]) -> Any:
        """What `work` answers; whatever is wrong with it is ours, and reaches nobody else."""
        try:
            return work()
        except NotLoggable as error:
            self._assay_outcome("not_logged", 1, str(error))
        except Exception as error:
            self._assay_outcome("not_logged", 1, f"it cannot be read as rows: {error!r}")
        return None

    def _assay_log(
        self, seen: _Seen, name: str, answer: Any, at_us: int, latency_ms: float, error: tuple[str, str] | None
    ) -> None:
        settings = self._assay_settings
        outputs = {} if error else {name: copied(answer)}
        rows = row_count(seen.given) if error else _rows(seen.given, name, answer, settings["classes"])
        if not rows:
            return
        call = ModelCall(
            describe=self._assay_describe,
            outcome=self._assay_outcome,
            given=seen.given,
            at_us=at_us,
            base=PREFIX + secrets.token_hex(12),
            rows=rows,
            outputs=outputs,
            latency_ms=latency_ms,
            keys=self._assay_keys(seen.keys, rows),
            error=error,
        )
        if name == "predict" and settings["probabilities"] and not error:
            outputs[PROBABILITIES] = copied(self._assay_model.predict_proba(seen.original))
        joined = not error and self._assay_join(call)
        self._assay_send(call)
        if (collecting := _collecting.get()) is not None and not joined:
            collecting += call.prediction_ids()

    def _assay_join(self, call: ModelCall) -> bool:
        """Whether the call is one of two methods asked about the same cases; it then tells what both answered."""
        last: ModelCall | None = getattr(self._assay_last, "call", None)
        small = size_of(call.given) <= REMEMBERED_BYTES
        self._assay_last.call = call if small else None
        if last is None or not small or last.rows != call.rows or last.outputs.keys() & call.outputs.keys():
            return False
        soon = (call.at_us or 0) - (last.at_us or 0) < TOGETHER_SECONDS * 1e6
        if not (soon and call.keys in (None, last.keys) and same(last.given, call.given)):
            return False
        last.superseded = True
        call.base, call.at_us, call.keys = last.base, last.at_us, last.keys
        call.outputs = {**last.outputs, **call.outputs}
        call.latency_ms = (last.latency_ms or 0.0) + (call.latency_ms or 0.0)
        return True

    def _assay_keys(self, keys: Any, rows: int) -> list[str] | None:
        if keys is None:
            return None
        listed = [keys] if isinstance(keys, str | int) else list(keys)
        if len(listed) != rows:
            _sender().warn_once(
                f"keys {self._assay_settings['name']}",
                f"{len(listed)} keys= came for {rows} rows of {self._assay_settings['name']!r}: logged without them",
            )
            return None
        return [case_text(key) for key in listed]

    def _assay_send(self, call: ModelCall, *, wait: bool = False) -> None:
        size = size_of(call.given) + sum(map(size_of, call.outputs.values())) + 256
        if not _sender().put(call, call.rows, size, wait=wait):
            self._assay_outcome("not_logged", call.rows, "too much waits to be sent")

    def _assay_refer(self, X: Any, y: Any) -> None:
        given = copied(X)
        outputs = {name: getattr(self._assay_model, name)(X) for name in _asked_for_reference(self._assay_model)}
        first, answer = next(iter(outputs.items()))
        rows = _rows(given, first, answer, self._assay_settings["classes"])
        call = ModelCall(
            describe=self._assay_describe,
            outcome=self._assay_outcome,
            given=given,
            at_us=None,
            base="",
            rows=rows,
            outputs=outputs,
            latency_ms=None,
            reference=True,
        )
        call.base = f"ref-{digest(call)[:24]}"
        self._assay_send(call, wait=True)
        if y is not None:
            self.label(call.prediction_ids(), y)

    def _assay_describe(self) -> Described:
        model, settings = self._assay_model, self._assay_settings
        own = {name: settings[name] for name in ("project", "service", "environment") if settings[name] is not None}
        names = settings["feature_names"]
        if names is None:
            names = getattr(model, "feature_names_in_", None)
        classes = settings["classes"] if settings["classes"] is not None else getattr(model, "classes_", None)
        return Described(
            common={"model": settings["name"], "model_version": settings["version"], **setup.origin(), **own},
            names=None if names is None else [str(name) for name in names],
            classes=classes,
            task=settings["task"] or ("classification" if classes is not None else _task_of(model)),
        )

    def _assay_outcome(self, outcome: str, rows: int, why: str) -> None:
        self._assay_counts[outcome] += rows
        if why:
            self._assay_counts["problem"] = why
            name = self._assay_settings["name"]
            _sender().warn_once(f"{name}: {why}", f"predictions of {name!r} are not logged: {why}")


class _Seen(NamedTuple):
    """A copy of an input, the input itself, and the keys of its rows."""

    given: Any
    original: Any
    keys: Any


def _seen(name: str, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], keys: Any) -> _Seen:
    if name == "__call__" and (len(args) != 1 or (kwargs and is_scalar(args[0]))):
        # A function of several arguments: those are the features.
        original: Any = inspect.signature(method).bind(*args, **kwargs).arguments
        original = {**original.pop("kwargs", {}), **original}
    else:
        original = args[0] if args else kwargs.get("X", next(iter(kwargs.values()), None))
    if keys is not None and not isinstance(keys, str | int):
        keys = list(keys)
    return _Seen(copied(original), original, keys)


def _rows(given: Any, name: str, answer: Any, classes: Any) -> int:
    """For how many rows an answer is."""
    if isinstance(answer, str | bytes | dict) or not hasattr(answer, "__len__") or getattr(answer, "ndim", 1) == 0:
        return 1
    of_one = name == PROBABILITIES or (classes is not None and len(answer) == len(classes))
    flat = getattr(answer, "ndim", None) == 1 or (isinstance(answer, list) and not hasattr(answer[:1], "__array__"))
    if of_one and flat and row_count(given) == 1 and all(isinstance(share, float) for share in answer):
        return 1
    return len(answer)


def _task_of(model: Any) -> str:
    """What scikit-learn's tags say a model predicts; "" where nothing tells."""
    try:
        kind = getattr(model.__sklearn_tags__(), "estimator_type", None)
    except Exception:
        kind = getattr(model, "_estimator_type", None)
    if kind is None:
        return "classification" if hasattr(model, PROBABILITIES) else ""
    return "regression" if kind == "regressor" else "classification"


def _asked_for_reference(model: Any) -> list[str]:
    asked = [name for name in ("predict", PROBABILITIES) if hasattr(model, name)]
    return asked or ["__call__"]


def _takes_keys(method: Callable[..., Any]) -> bool:
    try:
        return "keys" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False


def _is_monitored(model: Any) -> bool:
    return issubclass(type(model), MonitoredModel)


def _restored(model: Any, settings: dict[str, Any]) -> MonitoredModel:
    return MonitoredModel(model, **settings)


@functools.cache
def _wrapper_of(kind: type) -> type[MonitoredModel]:
    """MonitoredModel with those special methods that this kind of model has: Python looks them up on the class."""
    own: dict[str, Any] = {"__doc__": MonitoredModel.__doc__, "__module__": __name__}
    if _has(kind, "__call__"):
        own["__call__"] = _call
    for name in ("__len__", "__getitem__", "__iter__", "__contains__"):
        if _has(kind, name):
            own[name] = _delegated(name)
    return type("MonitoredModel", (MonitoredModel,), own)


def _has(kind: type, name: str) -> bool:
    return any(name in vars(base) for base in kind.__mro__)


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self._assay_logging("__call__", self._assay_model)(*args, **kwargs)


def _delegated(name: str) -> Callable[..., Any]:
    def delegated(self: Any, *args: Any) -> Any:
        return getattr(self._assay_model, name)(*args)

    return delegated


_senders: list[RowSender] = []
_lock = threading.Lock()


def _sender() -> RowSender:
    with _lock:
        if not _senders:
            _senders.append(row_sender("/api/predictions", "predictions", encode))
        return _senders[0]
