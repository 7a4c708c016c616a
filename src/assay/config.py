"""Settings: assay.toml in the working directory, overridden by ASSAY_* environment variables.

Command-line options override both. Nested settings are written `[quality] scorers = "local"` in the
file and ASSAY_QUALITY__SCORERS in the environment.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from assay.errors import ConfigError
from assay.records import FILTERS
from assay.timetable import ScheduledReport

MEBIBYTE = 1 << 20


class Ingest(BaseModel, extra="forbid"):
    """Limits of what one request, and all waiting requests together, may hold."""

    max_body_bytes: PositiveInt = 64 * MEBIBYTE
    max_pending_bytes: PositiveInt = 256 * MEBIBYTE
    max_future_seconds: NonNegativeFloat = 86_400.0


OnnxKind = Literal["embedding", "cross-encoder", "nli", "classifier", "tokens"]
ONNX_KINDS: dict[str, tuple[OnnxKind, ...]] = {
    "relevance": ("embedding", "cross-encoder"),
    "groundedness": ("nli", "cross-encoder", "tokens"),
    "toxicity": ("classifier",),
    "prompt_toxicity": ("classifier",),
}
"""The metrics that a model of one's own can judge, and the kinds of model that can."""


class Onnx(BaseModel, extra="forbid"):
    """A heavier scorer of one metric, and where it steps in for the local one.

    `model` is a directory with an ONNX graph, "minilm" (relevance), or owner/name at a model hub, of which
    `revision` pins a commit, tag or branch. `file` picks one of several graphs. `kind` and `labels` (those that
    speak for the score: toxic, entailment; for `tokens` the unsupported) are read from config.json where not set.
    Judged are a share `sample` of all conversations, always the same ones, and of these only the ones whose local
    score lies in the band `in_doubt`.
    """

    model: Annotated[str, Field(min_length=1)]
    kind: OnnxKind | None = None
    labels: tuple[str, ...] = ()
    revision: str = ""
    file: str = ""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    in_doubt: tuple[float, float] | None = None
    threads: PositiveInt = 1
    max_tokens: Annotated[int, Field(ge=32)] = 512

    @field_validator("in_doubt")
    @classmethod
    def _is_a_band(cls, band: tuple[float, float] | None) -> tuple[float, float] | None:
        if band is not None and not 0 <= band[0] < band[1] <= 1:
            raise ValueError(f"in_doubt must be [low, high] with 0 <= low < high <= 1, not {list(band)}")
        return band


OPENAI_URL = "https://api.openai.com/v1"


class Judge(BaseModel, extra="forbid"):
    """A model behind any OpenAI-compatible endpoint, which judges a sample of the calls.

    `metrics` name its rubrics, each a call of its own; `sample` is the share of calls that are judged, 0..1;
    `daily_budget_usd` is never exceeded (UTC days); `rubrics` is a folder whose files go before ours.
    `timeout_seconds` is for one request; all attempts at one question take three times that at most.
    """

    model: str = Field(min_length=1)
    base_url: str = OPENAI_URL
    api_key: SecretStr | None = None
    metrics: Annotated[list[str], NoDecode] = ["coherence", "factual_accuracy", "helpfulness"]
    sample: float = Field(0.05, ge=0, le=1)
    daily_budget_usd: float = Field(1.0, ge=0, allow_inf_nan=False)
    rubrics: str = ""
    concurrency: int = Field(4, ge=1, le=64)
    timeout_seconds: float = Field(30.0, gt=0, le=3600)
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: PositiveInt = 512

    @field_validator("metrics", mode="before")
    @classmethod
    def _split_metrics(cls, metrics: object) -> object:
        return [name.strip() for name in metrics.split(",") if name.strip()] if isinstance(metrics, str) else metrics

    @field_validator("base_url")
    @classmethod
    def _is_a_plain_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s@?#]+", url):
            raise ValueError("write it as https://host/v1, without a key, user name or query in it")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key and not re.fullmatch(r"[!-~]*", key.get_secret_value()):
            raise ValueError("a key has only visible ASCII characters")
        return key

    @property
    def key(self) -> str:
        """The API key in clear, "" for none. OPENAI_API_KEY stands in for it with OpenAI's own endpoint only."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        return os.environ.get("OPENAI_API_KEY", "").strip() if self.base_url == OPENAI_URL else ""


Tier = Literal["local", "lexical", "onnx", "off"]


class Quality(BaseModel, extra="forbid"):
    """Which scorers judge new conversations, and how.

    `scorers` is the tier of every metric but those in `metrics` ("off" for none); `custom` names Python modules with
    scorers of your own. `share` "2/3" makes this server the second of three that share one store's scoring.
    """

    scorers: Literal["local", "lexical", "off"] = "local"
    metrics: dict[str, Tier] = {}
    custom: Annotated[list[str], NoDecode] = []
    processes: PositiveInt = 1
    share: str = "1/1"
    timeout_seconds: PositiveFloat = 10.0
    poll_seconds: PositiveFloat = 0.5
    batch_size: PositiveInt = 500
    judge: Judge | None = None
    onnx: dict[str, Onnx] = {}
    """Models of one's own by metric, as [quality.onnx.relevance]."""

    @field_validator("onnx")
    @classmethod
    def _can_judge(cls, onnx: dict[str, Onnx]) -> dict[str, Onnx]:
        for metric, settings in onnx.items():
            if metric not in ONNX_KINDS:
                raise ValueError(f"no ONNX model can judge {metric!r}; they can: {', '.join(ONNX_KINDS)}")
            if settings.kind not in (None, *ONNX_KINDS[metric]):
                raise ValueError(f"{metric} is judged by {' or '.join(ONNX_KINDS[metric])}, not by {settings.kind}")
        return onnx

    @field_validator("custom", mode="before")
    @classmethod
    def _split_modules(cls, modules: object) -> object:
        return [name.strip() for name in modules.split(",") if name.strip()] if isinstance(modules, str) else modules

    @field_validator("share")
    @classmethod
    def _is_a_share(cls, share: str) -> str:
        found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", share)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"write a share as 1/3, 2/3 or 3/3, not {share!r}")
        return share

    @property
    def part(self) -> tuple[int, int]:
        """`share` as (index from 0, of how many)."""
        place, of = self.share.split("/")
        return int(place) - 1, int(of)


class Alerts(BaseModel, extra="forbid"):
    """Where the alert rules are, and whether this server watches them. One server a store should."""

    rules: Path = Path("alerts.toml")
    enabled: bool = True


_SHARED_BY = ("project", "user", "model", "service", "environment")


class Budget(BaseModel, extra="forbid"):
    """What may be spent in a month, week (from Monday) or day: a table [[budget]] in assay.toml.

    `per` gives the amount to each project, user, model, service, environment or value of an attribute ("tag:team"), or
    with `value` to that one only; without it, it is for all calls. `filter` counts only some of the calls, such as
    {environment = "production"}.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    amount_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    per: str = ""
    value: str = ""
    period: Literal["month", "week", "day"] = "month"
    filter: dict[str, str] = {}

    @field_validator("per")
    @classmethod
    def _is_shared_by(cls, per: str) -> str:
        if per and per not in _SHARED_BY and not re.fullmatch(r"tag:.+", per):
            raise ValueError(f"per must be one of {', '.join(_SHARED_BY)} or tag:KEY, not {per!r}")
        return per

    @field_validator("filter")
    @classmethod
    def _filters_are_known(cls, filter: dict[str, str]) -> dict[str, str]:
        if unknown := filter.keys() - {*FILTERS}:
            raise ValueError(f"no filter is called {min(unknown)!r}: there are {', '.join(FILTERS)}")
        return filter

    @model_validator(mode="after")
    def _value_is_of_something(self) -> Budget:
        if self.value and not self.per:
            raise ValueError(f"value {self.value!r} needs per, which says what it is a value of, such as project")
        return self


class Sql(BaseModel, extra="forbid"):
    """Limits of one query that a user writes, and whether users may (`enabled`)."""

    enabled: bool = True
    max_seconds: PositiveInt = 10
    max_rows: PositiveInt = 10_000
    max_result_bytes: PositiveInt = 16 * MEBIBYTE
    max_memory_bytes: PositiveInt = 1024 * MEBIBYTE
    threads: PositiveInt = 1


class Price(BaseModel, extra="forbid"):
    """US dollars per million tokens of one model, and per request. Cached tokens cost what input costs if not said."""

    input: NonNegativeFloat
    output: NonNegativeFloat = 0.0
    cache_read: NonNegativeFloat | None = None
    cache_write: NonNegativeFloat | None = None
    request: NonNegativeFloat = 0.0


class Config(BaseSettings):
    """Everything that can be set. Defaults suit one person on one machine."""

    model_config = SettingsConfigDict(
        env_prefix="ASSAY_",
        env_nested_delimiter="__",
        toml_file="assay.toml",
        extra="forbid",
    )

    host: str = "127.0.0.1"
    port: int = 4318
    grpc_port: int | None = None
    store: str = "chdb:///./assay-data"
    api_keys: Annotated[list[SecretStr], NoDecode] = []
    ingest: Ingest = Ingest()
    quality: Quality = Quality()
    alerts: Alerts = Alerts()
    report: list[ScheduledReport] = []
    sql: Sql = Sql()
    budget: list[Budget] = []
    timezone: str = "UTC"
    """Where the days, weeks and months of budgets begin, such as "Europe/Berlin"."""

    prices: dict[str, Price] = {}
    """Prices of your own by model name, or by a pattern such as "llama-*"; they go before the public ones."""

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, keys: object) -> object:
        return [key.strip() for key in keys.split(",") if key.strip()] if isinstance(keys, str) else keys

    @field_validator("api_keys")
    @classmethod
    def _no_empty_key(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if not all(key.get_secret_value().strip() for key in keys):
            raise ValueError("an API key must not be empty")
        return keys

    @field_validator("report")
    @classmethod
    def _each_its_own_name(cls, reports: list[ScheduledReport]) -> list[ScheduledReport]:
        names = [one.name for one in reports]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"there are two reports named {twice!r}: give each a name of its own")
        return reports

    @field_validator("budget")
    @classmethod
    def _names_differ(cls, budgets: list[Budget]) -> list[Budget]:
        names = [budget.name for budget in budgets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two budgets are called {min(twice)!r}: give each a name of its own")
        return budgets

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{timezone!r} is no time zone: write for example Europe/Berlin or UTC") from None
        return timezone

    @field_validator("port", "grpc_port")
    @classmethod
    def _port_in_range(cls, port: int | None) -> int | None:
        if port is not None and not 0 <= port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {port}")
        return port

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def keys(self) -> tuple[str, ...]:
        """API keys in clear; empty where none are set."""
        return tuple(key.get_secret_value() for key in self.api_keys)

    @property
    def shown_store(self) -> str:
        """The store's URL without its password."""
        return without_password(self.store)

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine can connect to `host`."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


def load_config(**options: Any) -> Config:
    """The settings, with the options that are not None in place of file and environment. Raises ConfigError."""
    try:
        return Config(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"a setting in assay.toml, ASSAY_* or the command line is wrong: {problems}") from None
    except (SettingsError, TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"assay.toml or an ASSAY_* variable cannot be read: {error}") from None


def require_safe_binding(config: Config) -> None:
    """Refuse to show everyone's prompts to the whole network without a key. Raises ConfigError."""
    if config.loopback or config.keys:
        return
    raise ConfigError(
        f"refusing to listen on {config.host} without API keys: anyone on the network could read every "
        "prompt. Set ASSAY_API_KEYS=a-long-random-key, or keep the default --host 127.0.0.1 and "
        "reach it through an SSH tunnel."
    )
