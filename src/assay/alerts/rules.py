"""What `alerts.toml` may say: rules, channels, inhibitions, maintenance windows; read, checked, explained.

In: the text of the file. Out: a RuleBook of everything that is right, and a Problem, with its line and what to
do, for everything that is not: a wrong rule never stops the others.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from assay.alerts.toml import Block, Problem, blocks
from assay.errors import ConfigError
from assay.records import ScoreSource

SCALE_METRICS = (
    "cost",
    "tokens",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "first_token_ms",
    "scoring_lag_seconds",
    "model_latency_ms",
)
"""Positive, with a heavy tail: a shift of them is looked for in their logarithm."""
ESTIMATES = ("model_estimated_accuracy", "model_estimated_accuracy_drop")
MODEL_METRICS = (
    "model_error_rate",
    "model_latency_ms",
    "model_missing",
    "model_missing_rise",
    "model_accuracy",
    "model_accuracy_drop",
    *ESTIMATES,
)
"""Of predictions of classical models. Drops and rises are against the model's reference rows."""
DRIFT = "drift"
MODEL_DIMENSIONS = ("project", "environment", "service", "model")
SHARE_METRICS = ("error_rate", "unpriced", "model_error_rate", "model_accuracy", "model_estimated_accuracy")
"""0 or 1 of each call: their mean is a share."""
METRICS = (*dict.fromkeys([*SCALE_METRICS, *SHARE_METRICS, *MODEL_METRICS]), "volume", DRIFT)
"""All that is not the name of a score."""

DIMENSIONS = ("project", "environment", "service", "model", "provider", "session_id", "user_id", "operation", "name")
"""What can be filtered and grouped by, beside `tag:KEY`, an attribute of the call."""

Aggregate = Literal["mean", "sum", "max", "share", "p50", "p90", "p95", "p99"]
SEVERITIES = ("HIGH", "MEDIUM", "LOW")
Severity = Literal["HIGH", "MEDIUM", "LOW"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: object) -> int:
    """The length of a duration such as 30s, 15m, 6h, 7d or 4w. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,5})([smhdw])", text.strip()) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is no length of time: write for example 30s, 15m, 6h, 7d or 4w")
    return int(match[1]) * _UNITS[match[2]]


def _dimension(name: str) -> str:
    known = {"user": "user_id", "session": "session_id"}.get(name, name)
    if known in DIMENSIONS or re.fullmatch(r"tag:[\w.\-]{1,100}", known):
        return known
    raise ValueError(f"{name!r} is no dimension: choose one of {', '.join(DIMENSIONS)} or tag:KEY")


def _metric(name: str) -> str:
    known = {"latency": "latency_ms", "first_token": "first_token_ms", "cost_usd": "cost"}.get(name, name)
    if known.startswith(DRIFT) and known != DRIFT:
        raise ValueError(f'{name!r}: all features of a model are watched together: write kind = "drift" without metric')
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", known):
        raise ValueError(f"{name!r} is neither one of {', '.join(METRICS)} nor the name of a score")
    return known


Seconds = Annotated[int, BeforeValidator(seconds)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Dimension = Annotated[str, AfterValidator(_dimension)]
Metric = Annotated[str, AfterValidator(_metric)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class Rule(_Told):
    """What every kind of rule has. Lengths of time are seconds.

    `source` is whose verdicts a score's are: by default those of scorers where there are any, else of other tools, of
    judges, of people.

    `for` is how long the condition must hold before it fires, `resolve_after` how long it must not hold before it
    resolves. `no_data` is what fewer than `min_count` calls mean: leave the state as it is (keep), all well (ok), or
    the condition itself (fire).
    """

    name: Name
    metric: Metric
    aggregate: Aggregate = "mean"
    source: ScoreSource | None = None
    over: float | None = None
    under: float | None = None
    window: Annotated[Seconds, Field(ge=10, le=30 * 86_400)] = 900
    filter: dict[Dimension, str] = {}
    group_by: Dimension | None = None
    hold_seconds: Annotated[Seconds, Field(alias="for")] = 0
    resolve_after: Seconds = 300
    min_count: Annotated[int, Field(ge=0)] | None = None
    severity: Severity = "MEDIUM"
    runbook: Annotated[str, Field(pattern=r"^(https?://.*)?$", max_length=2000)] = ""
    channels: list[Name] = []
    no_data: Literal["keep", "ok", "fire"] = "keep"
    enabled: bool = True

    @model_validator(mode="after")
    def _aggregate_fits(self) -> Rule:
        limits = [limit for limit in (self.over, self.under) if limit is not None]
        if self.aggregate == "share" and len(limits) != 1:
            raise ValueError('aggregate = "share" needs one limit on each call: over = ... or under = ...')
        if self.aggregate != "share" and limits:
            raise ValueError('over and under belong to aggregate = "share"')
        if self.metric == "volume" and self.aggregate != "sum":
            raise ValueError('metric = "volume" counts calls: write aggregate = "sum"')
        if self.metric in SHARE_METRICS and self.aggregate != "mean":
            raise ValueError(f'metric = "{self.metric}" is a share already: write aggregate = "mean"')
        return self

    @model_validator(mode="after")
    def _of_models(self) -> Rule:
        if self.metric == DRIFT and self.__dict__.get("kind") != "drift":
            raise ValueError('drift is a kind of its own: write kind = "drift" without metric')
        asked = {*self.filter, *([self.group_by] if self.group_by else [])}
        if self.metric in (*MODEL_METRICS, DRIFT) and (unknown := sorted(asked - {*MODEL_DIMENSIONS})):
            known = ", ".join(MODEL_DIMENSIONS)
            raise ValueError(f"{unknown[0]!r} is not known of predictions: choose one of {known}")
        return self

    @property
    def needed(self) -> int:
        """How many calls a window must hold before it says anything."""
        exact = {"sum": 0, "max": 1}
        return exact.get(self.aggregate, 20) if self.min_count is None else self.min_count


class ThresholdRule(Rule):
    """Fires when the aggregate is beyond a limit, and of a mean, share or percentile its whole interval is."""

    kind: Literal["threshold"] = "threshold"
    above: float | None = None
    below: float | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.99

    @model_validator(mode="after")
    def _one_limit(self) -> ThresholdRule:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one limit: above = ... or below = ...")
        return self

    @property
    def limit(self) -> float:
        """The limit, whichever side it is on."""
        return self.above if self.above is not None else self.below or 0.0


class BaselineRule(Rule):
    """Fires when the aggregate is far from what it was at the same time of past days (or weeks)."""

    kind: Literal["baseline"]
    season: Literal["day", "week"] = "day"
    direction: Literal["above", "below", "both"] = "both"
    deviations: Annotated[float, Field(gt=0)] = 5.0
    change: Annotated[float, Field(gt=0, le=1000)] = 0.5


class ShiftRule(Rule):
    """Fires when the mean has moved by about `change`, with a stated mean time between false alarms."""

    kind: Literal["shift"]
    direction: Literal["up", "down"]
    change: Annotated[float, Field(gt=0, le=100)] = 0.10
    false_alarm_every: Annotated[Seconds, Field(ge=86_400)] = 26 * 604_800
    season: Literal["day", "week"] = "day"

    @model_validator(mode="after")
    def _of_a_mean(self) -> ShiftRule:
        if self.aggregate != "mean" or self.metric == "volume":
            raise ValueError("a shift is looked for in the mean of what each call has: remove aggregate")
        if self.direction == "down" and self.change >= 1:
            raise ValueError("a fall is by less than all of it: change must be below 1")
        return self


class SloRule(Rule):
    """Fires when the error budget burns too fast over a long and a short window together."""

    kind: Literal["slo"]
    objective: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _of_a_share(self) -> SloRule:
        if self.aggregate != "share" and self.metric not in SHARE_METRICS:
            raise ValueError('an slo is about a share of bad calls: metric = "error_rate", or aggregate = "share"')
        return self


class AbsentRule(Rule):
    """Fires when no call came for `window`, where the same time of past days had at least `min_expected` calls."""

    kind: Literal["absent"]
    metric: Metric = "volume"
    aggregate: Aggregate = "sum"
    min_expected: Annotated[int, Field(ge=0)] = 0
    season: Literal["day", "week"] = "day"


class DriftRule(Rule):
    """Fires when at least `features` columns of a model (features, prediction, confidence) have drifted in the window.

    One has where a difference so large is less likely than 1 - `confidence`, corrected for all of them, and its PSI
    against the reference is at least `psi`. There is an incident for each model.
    """

    kind: Literal["drift"]
    metric: Metric = DRIFT
    window: Annotated[Seconds, Field(ge=10, le=30 * 86_400)] = 86_400
    group_by: Dimension | None = "model"
    features: Annotated[int, Field(ge=1)] = 1
    psi: Annotated[float, Field(gt=0)] = 0.2
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.999
    min_count: Annotated[int, Field(ge=0)] | None = 300

    @model_validator(mode="after")
    def _of_each_model(self) -> DriftRule:
        if self.metric != DRIFT or self.aggregate != "mean" or self.group_by != "model":
            raise ValueError("drift is judged of each model: remove metric, aggregate and group_by; filter chooses")
        return self


AnyRule = Annotated[
    ThresholdRule | BaselineRule | ShiftRule | SloRule | AbsentRule | DriftRule, Field(discriminator="kind")
]
AlertRule = ThresholdRule | BaselineRule | ShiftRule | SloRule | AbsentRule | DriftRule


class Channel(_Told):
    """Where messages go: `url` is an Apprise address, `webhook` takes signed JSON."""

    name: Name
    url: SecretStr | None = None
    webhook: SecretStr | None = None
    secret: SecretStr = SecretStr("")
    min_severity: Severity = "LOW"

    @model_validator(mode="after")
    def _one_address(self) -> Channel:
        if (self.url is None) == (self.webhook is None):
            raise ValueError("give one address: url = (Apprise) or webhook = (https://..., signed JSON)")
        if self.webhook and not re.match(r"https?://[^/]", self.webhook.get_secret_value()):
            raise ValueError("webhook must be an http:// or https:// address")
        if self.webhook and not self.secret.get_secret_value():
            raise ValueError('webhook needs a secret to sign with: secret = "a long random text"')
        return self


class Inhibition(_Told):
    """While a rule named by `source` fires, rules named by `targets` (with * as wildcard) stay unsaid.

    `same` names dimensions in which both must agree, where both are grouped by it.
    """

    source: str
    targets: Annotated[list[str], Field(min_length=1)]
    same: list[Dimension] = []


class Maintenance(_Told):
    """A planned time without messages: once (`starts`, `ends`), or on `days` from `at` for `length`."""

    name: str
    rules: list[str] = ["*"]
    starts: datetime | None = None
    ends: datetime | None = None
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = []
    at: Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")] = ""
    length: Seconds = 3600
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{zone!r} is no time zone: write for example Europe/Berlin") from None
        return zone

    @model_validator(mode="after")
    def _when(self) -> Maintenance:
        once, often = bool(self.starts and self.ends), bool(self.days and self.at)
        if once == often:
            raise ValueError("say when: starts and ends, or days and at (with length)")
        return self

    def covers(self, moment: datetime) -> bool:
        """Whether the (aware) moment lies in the window."""
        there = moment.astimezone(ZoneInfo(self.zone))
        if self.starts and self.ends:
            starts, ends = (at if at.tzinfo else at.replace(tzinfo=there.tzinfo) for at in (self.starts, self.ends))
            return starts <= there < ends
        for ago in range(self.length // 86_400 + 2):
            day = there - timedelta(days=ago)
            hour, minute = map(int, self.at.split(":"))
            begun = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if _DAYS[begun.weekday()] in self.days and begun <= there < begun + timedelta(seconds=self.length):
                return True
        return False


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Delivery(_Told):
    """How messages go out: how often an open incident is told again, and whom to tell that all is running."""

    repeat_every: Seconds = 4 * 3600
    give_up_after: Seconds = 86_400
    heartbeat_url: SecretStr | None = None
    heartbeat_every: Annotated[Seconds, Field(ge=5)] = 60


class Engine(_Told):
    """How finely time is cut, how long late calls are waited for, and what a rule's question may take."""

    every: Annotated[Seconds, Field(ge=5, le=300)] = 30
    delay: Annotated[Seconds, Field(ge=0, le=3600)] = 30
    slow_after: Annotated[Seconds, Field(ge=1)] = 10


class RuleBook(_Told):
    """All that holds: rules by name, channels by name, and how they work together; and what was wrong."""

    rules: dict[str, AlertRule] = {}
    channels: dict[str, Channel] = {}
    inhibitions: list[Inhibition] = []
    maintenance: list[Maintenance] = []
    delivery: Delivery = Delivery()
    engine: Engine = Engine()
    problems: list[Problem] = []


_RULE_KINDS = ("threshold", "baseline", "shift", "slo", "absent", "drift")
_KINDS: dict[str, TypeAdapter[Any]] = {
    "rule": TypeAdapter(AnyRule),
    "channel": TypeAdapter(Channel),
    "inhibit": TypeAdapter(Inhibition),
    "maintenance": TypeAdapter(Maintenance),
    "delivery": TypeAdapter(Delivery),
    "engine": TypeAdapter(Engine),
}


def parse_rules(text: str, source: str = "alerts.toml", *, defaults: bool = True) -> RuleBook:
    """The rules of a file, with those that come with Assay unless it says `defaults = false`.

    A rule takes the place of a default one of the same name.
    """
    found, problems = blocks(text, source)
    top = {key: value for block in found if block.kind == "" for key, value in block.values.items()}
    own = _book([block for block in found if block.kind], problems, source)
    for key in top.keys() - {"defaults"}:
        problems.append(Problem(source=source, line=1, message=f"{key!r} is unknown: a rule begins with [[rule]]"))
    if not defaults or top.get("defaults") is False:
        return own.model_copy(update={"problems": problems})
    return own.model_copy(update={"rules": {**default_rules().rules, **own.rules}, "problems": problems})


def default_rules() -> RuleBook:
    """The rules that come with Assay. They name no channel: they go to all there are."""
    return parse_rules((files("assay.alerts") / "defaults.toml").read_text(), "defaults.toml", defaults=False)


def load_rules(path: Path) -> RuleBook:
    """The rules of this file, or the default ones where there is none. Raises ConfigError where it cannot be read."""
    if not path.exists():
        return default_rules()
    try:
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the alert rules in {path}: {error}") from None


def _book(found: list[Block], problems: list[Problem], source: str) -> RuleBook:
    parts: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    names = dict[tuple[str, str], int]()
    for block in found:
        told = _checked(block, problems, source)
        if told is None:
            continue
        name = getattr(told, "name", "")
        if name and (block.kind, name) in names:
            first = names[block.kind, name]
            message = f"{block.kind} {name!r}: there is one of this name in line {first}; give each a name of its own"
            problems.append(Problem(source=source, line=block.line_of("name"), message=message))
            continue
        names[block.kind, name] = block.line
        parts[block.kind].append((block, told))
    channels = {channel.name: channel for _, channel in parts["channel"]}
    for block, rule in parts["rule"]:
        if unknown := [name for name in rule.channels if name not in channels]:
            message = f"rule {rule.name!r}: no channel {unknown[0]!r}; add [[channel]] with this name. Told to all"
            problems.append(Problem(source=source, line=block.line_of("channels"), message=message))
    return RuleBook(
        rules={rule.name: rule for _, rule in parts["rule"]},
        channels=channels,
        inhibitions=[told for _, told in parts["inhibit"]],
        maintenance=[told for _, told in parts["maintenance"]],
        delivery=parts["delivery"][-1][1] if parts["delivery"] else Delivery(),
        engine=parts["engine"][-1][1] if parts["engine"] else Engine(),
    )


def _checked(block: Block, problems: list[Problem], source: str) -> Any:
    if block.kind not in _KINDS:
        known = "[[rule]], [[channel]], [[inhibit]], [[maintenance]], [delivery] or [engine]"
        message = f"[{block.kind}] is unknown: write {known}"
        problems.append(Problem(source=source, line=block.line, message=message))
        return None
    values = {"kind": "threshold", **block.values} if block.kind == "rule" else block.values
    try:
        return _KINDS[block.kind].validate_python(values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            problems.append(_problem(block, detail, source))
        return None


def _problem(block: Block, detail: Any, source: str) -> Problem:
    # The first part of a rule's location is its kind, by which it was told apart.
    place = [str(part) for part in detail["loc"] if part != "[key]"]
    if block.kind == "rule" and place and place[0] in _RULE_KINDS:
        place = place[1:]
    key = place[0] if place else ""
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "is no setting of this kind: remove it or correct its name"
    elif detail["type"] == "missing":
        message = "is missing: add it"
    elif detail["type"] == "union_tag_invalid":
        key, message = "kind", f"must be {', '.join(_RULE_KINDS[:-1])} or {_RULE_KINDS[-1]}"
    name = block.values.get("name")
    what = f"{block.kind} {name!r}" if isinstance(name, str) else block.kind
    said = f"{what}: {'.'.join(place or [key])} {message}".replace(":  ", ": ") if key else f"{what}: {message}"
    line = next((line for part in reversed(place) if (line := block.line_of(part)) != block.line), block.line_of(key))
    return Problem(source=source, line=line, message=said)
