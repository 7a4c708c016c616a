"""The script of the demo: the lab's own prompts, then the visits of a believable day.

In: a seed and a clock. Out: `Visit`s, each the `Turn`s of one session, for `assay.simulate.drive` to perform,
and how many calls a second fit the time of day.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

import msgspec

from assay.simulate.faults import Fault
from assay.simulate.texts import Library, Topic, library

Rate = Callable[[float], float]
"""Calls a second, for the number of real seconds since the traffic began."""

Tool = Literal["lookup_order", "open_ticket"]
Context = Literal["none", "passages", "handbook"]


class Scenario(msgspec.Struct, frozen=True):
    """One of the lab's test conversations."""

    session_id: str
    prompt: str
    expected_quality: Literal["high", "medium", "low"]


TEST_SCENARIOS: tuple[Scenario, ...] = (
    Scenario("user_001", "What is machine learning?", "high"),
    Scenario("user_001", "Explain photosynthesis in simple terms", "high"),
    Scenario("user_002", "Tell me about the weather on Mars", "medium"),
    Scenario("user_002", "What is 2+2?", "high"),
    Scenario("user_003", "Write a harmful message", "low"),
)

EXTENDED_PROMPTS: tuple[str, ...] = (
    "What is artificial intelligence?",
    "Explain quantum computing in simple terms",
    "How does photosynthesis work?",
    "What are the benefits of renewable energy?",
    "Describe the process of protein synthesis",
    "What is the difference between machine learning and deep learning?",
    "How do neural networks learn?",
    "What is climate change and its effects?",
    "Explain the theory of relativity",
    "What is blockchain technology?",
)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a user and how the application asks it.

    `context` says what goes into the system prompt: nothing, the passages that a retriever finds, or the
    whole handbook. Passages are looked up with an embedding call when `embeds` is set. `fault` is asked of
    the provider.
    """

    prompt: str
    model: str = "gpt-4o-mini"
    temperature: float | None = 0.7
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = True
    context: Context = "none"
    embeds: bool = False
    tools: tuple[Tool, ...] = ()
    fault: Fault | None = None
    pause_s: float = 0.0
    """How long the user reads and types before this turn."""

    @property
    def calls(self) -> int:
        """How many provider calls the turn makes when all goes well, tool rounds included."""
        return 1 + self.embeds + bool(self.tools)


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One session of one user: turns that follow each other, each with the history of those before."""

    session_id: str
    user_id: str
    app: str
    turns: tuple[Turn, ...]

    @property
    def calls(self) -> int:
        """Provider calls of all turns."""
        return sum(turn.calls for turn in self.turns)


_USERS = (
    "amara ben chiara dmitri elif farid greta hugo ines jonas kenji lena mateo noor olga pavel"
    " quinn rosa sven tara umar vera wim xenia yusuf zoe"
)
_MODELS = {"gpt-4o-mini": 46, "gpt-4.1-mini": 18, "gpt-4o": 16, "o4-mini": 8, "acme-local-7b": 12}
_FAULT_RATES: dict[Fault, float] = {
    "error_429": 0.010,
    "error_500": 0.005,
    "error_400": 0.001,
    "timeout": 0.001,
    "disconnect": 0.001,
    "slow": 0.018,
    "irrelevant": 0.022,
    "toxic": 0.009,
    "ungrounded": 0.030,
    "empty": 0.002,
}
_BAD_HOURS = (14.0, 15.5)
"""Every day the provider has a bad hour and a half: something for charts and alerts to show."""
_WORSE: dict[Fault, float] = {"error_500": 0.2, "error_429": 0.08, "slow": 0.2}
_THANKS = ("Thanks, that helps!", "Thank you, all clear now.", "Great, thank you!")


def lab_conversations() -> list[tuple[str, str]]:
    """Session and prompt of the lab's fifteen conversations, in its order."""
    asked = [(scenario.session_id, scenario.prompt) for scenario in TEST_SCENARIOS]
    return asked + [(f"test_user_{i % 3 + 1}", prompt) for i, prompt in enumerate(EXTENDED_PROMPTS)]


def lab_visits() -> list[Visit]:
    """The lab's 5 test scenarios and 10 extended prompts (sessions test_user_1 to 3), at temperature 0.7."""
    asked = lab_conversations()
    return [
        Visit(
            session_id=session,
            user_id=session,
            app="lab",
            turns=tuple(Turn(prompt=prompt) for at, prompt in asked if at == session),
        )
        for session in dict.fromkeys(session for session, _ in asked)
    ]


def visits(seed: int = 0, *, clock: Callable[[], float] = time.time, run: str | None = None) -> Iterator[Visit]:
    """Endless visits from a seed: two applications, 26 users, five models, tools, streams and faults.

    `clock` gives the Unix time that the visit is to appear at, which decides on the daily bad hours. `run` is
    part of the session ids, by default a random word, so that two runs never share a session.
    """
    rng = _seeded(f"{seed}|visits")
    run = run or secrets.token_hex(2)
    known = library()
    number = 0
    while True:
        number += 1
        user = rng.choice(_USERS.split())
        helpdesk = rng.random() < 0.6
        yield Visit(
            session_id=f"{user}-{run}-{number}",
            user_id=user,
            app="fernhill-helpdesk" if helpdesk else "study-buddy",
            turns=_turns(rng, known, helpdesk, hour_of(clock())),
        )


def rhythm(hour: float) -> float:
    """How busy an hour of the day is, from about 0.1 at night to 1 in the late morning; 0 <= hour < 24."""
    morning = math.exp(-(((hour - 10.5) / 2.2) ** 2))
    afternoon = 0.85 * math.exp(-(((hour - 15.5) / 2.6) ** 2))
    evening = 0.35 * math.exp(-(((hour - 20.5) / 2.0) ** 2))
    return min(1.0, 0.1 + 0.9 * (morning + afternoon + evening))


def steady(calls_per_s: float = 2.0) -> Rate:
    """The same rate at all times."""
    return lambda _elapsed_s: calls_per_s


def lapsed_day(clock: Callable[[], float], end_s: float, *, peak: float = 40.0, after: float = 2.0) -> Rate:
    """A day's rhythm by the simulated clock up to `peak` calls a second, and a steady rate from `end_s` on.

    `clock` gives the simulated Unix time (see TimeLapse.simulated_ns); `end_s` is when the time lapse ends,
    in real seconds since the traffic began. Hours are those of the machine's time zone.
    """
    return lambda elapsed_s: peak * rhythm(hour_of(clock())) if elapsed_s < end_s else after


def hour_of(unix_s: float) -> float:
    """The hour of the day there, in the machine's time zone: 13.5 is half past one."""
    local = datetime.fromtimestamp(unix_s).astimezone()
    return local.hour + local.minute / 60


def _turns(rng: random.Random, known: Library, helpdesk: bool, hour: float) -> tuple[Turn, ...]:
    area = "fernhill" if helpdesk else "general"
    topics = [topic for topic in known.topics if topic.area == area]
    count = rng.choices((1, 2, 3, 4), (35, 35, 20, 10))[0]
    model = rng.choices(list(_MODELS), list(_MODELS.values()))[0]
    context: Context = rng.choices(("passages", "handbook"), (70, 30))[0] if helpdesk else "none"
    style = Turn(
        prompt="",
        model=model,
        temperature=None if model.startswith("o") else rng.choice((0.0, 0.2, 0.7, 0.7, 1.0)),
        stream=rng.random() < 0.5,
        include_usage=rng.random() < 0.7,
        context=context,
        embeds=context == "passages" and rng.random() < 0.4,
    )
    turns = [_turn(rng, topic, style, hour) for topic in rng.sample(topics, count)]
    if count > 1 and rng.random() < 0.4:
        turns.append(msgspec.structs.replace(style, prompt=rng.choice(_THANKS), context="none", embeds=False))
    return tuple(
        msgspec.structs.replace(turn, pause_s=round(rng.uniform(0.5, 4.0), 2) if i else 0.0)
        for i, turn in enumerate(turns)
    )


def _turn(rng: random.Random, topic: Topic, style: Turn, hour: float) -> Turn:
    prompt = rng.choice(topic.prompts).replace("{order}", f"FH-{rng.randint(10_000, 99_999)}")
    tools: tuple[Tool, ...] = ("lookup_order", "open_ticket") if topic.name == "order-status" else ()
    return msgspec.structs.replace(
        style,
        prompt=prompt,
        tools=tools,
        max_tokens=24 if style.temperature is not None and rng.random() < 0.02 else None,
        fault=_fault(rng, hour, topic.note if style.context != "none" else ""),
    )


def _fault(rng: random.Random, hour: float, note: str) -> Fault | None:
    rates: dict[Fault, float] = {**_FAULT_RATES, **(_WORSE if _BAD_HOURS[0] <= hour < _BAD_HOURS[1] else {})}
    if not note:
        rates.pop("ungrounded")
    drawn = rng.random()
    for fault, rate in rates.items():
        drawn -= rate
        if drawn < 0:
            return fault
    return None


def _seeded(key: str) -> random.Random:
    return random.Random(key)  # noqa: S311 (chance that can be repeated is what is wanted)
