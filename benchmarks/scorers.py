"""What scoring costs: CPU time a conversation, for each scorer and for whole sets, and what a process needs.

Chat turns are about 75 + 480 characters; the same turns are given 1,800 and 8,000 characters of context in several
chunks. Texts are those of the simulated assistant, or answers of language models where --data names a folder
with groundedness-halueval-general-noctx.jsonl (docs/quality.md). `lexical` is measured in the same rounds, as a
yardstick that travels between machines.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import median

from assay.quality.bench import read_rows
from assay.quality.scorer import Conversation, Scorer, assess, assess_all
from assay.quality.sets import scorers
from assay.simulate.texts import library
from measuring import memory_mb, show

PROMPT_CHARS, RESPONSE_CHARS = 75, 480
CONTEXTS = {"chat": (0, 0), "RAG, 1.8k": (3, 600), "RAG, 8k": (4, 2000)}
"""Chunks of context and characters of each."""
LOADING = """
import json, sys, time
started = time.perf_counter()
from assay.quality.sets import scorers
imported = time.perf_counter()
loaded = scorers(sys.argv[1])
print(json.dumps([imported - started, time.perf_counter() - imported]), flush=True)
input()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of labelled rows, to take real answers from")
    parser.add_argument("--conversations", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    turns = _answers(options.data) if options.data else _simulated()
    random.Random(0).shuffle(turns)
    cases = {
        name: _conversations(turns[: options.conversations], chunks, size) for name, (chunks, size) in CONTEXTS.items()
    }
    sets = {name: scorers(name) for name in ("lexical", "local")}
    show("scorers", _costs(sets, cases, options.rounds), unit="microseconds of CPU a conversation")
    show("scorers, loading", [_loading(name) for name in sets])


def _costs(
    sets: dict[str, tuple[Scorer, ...]], cases: dict[str, list[Conversation]], rounds: int
) -> list[dict[str, str | float]]:
    """Medians over rounds in which every way has its turn."""
    ways: dict[str, tuple[Sequence[Scorer], bool]] = {
        f"{scorer.name} alone": ((scorer,), True) for scorer in sets["local"]
    }
    ways |= {"local, all six, in batches": (sets["local"], True), "local, all six, one by one": (sets["local"], False)}
    ways |= {"lexical, all four, one by one": (sets["lexical"], False)}
    spent: dict[tuple[str, str], list[float]] = {(way, case): [] for way in ways for case in cases}
    for _ in range(rounds):
        for way, case in spent:
            spent[way, case].append(_microseconds(*ways[way], cases[case]))
    return [{"what": way} | {case: median(spent[way, case]) for case in cases} for way in ways]


def _microseconds(members: Sequence[Scorer], together: bool, conversations: list[Conversation]) -> float:
    started = time.process_time()
    if together:
        assess_all(members, conversations)
    else:
        for conversation in conversations:
            assess(members, conversation)
    return (time.process_time() - started) / len(conversations) * 1e6


def _loading(set_name: str) -> dict[str, str | float]:
    """Seconds to import and to load, and the memory of a process that did no more; numpy included."""
    command = [sys.executable, "-c", LOADING, set_name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        imported, loaded = json.loads(process.stdout.readline())
        memory = memory_mb(process.pid)
        process.communicate("\n")
    return {"set": set_name, "import s": imported, "load s": loaded, "memory MB": memory}


def _simulated() -> list[tuple[str, str]]:
    """Questions with answers, each filled up with those of other topics to the length of a chat turn."""
    topics = [topic for topic in library().topics if topic.kind == "answer"]
    answers = [answer for topic in topics for answer in topic.answers]
    prompts = [prompt for topic in topics for prompt in topic.prompts]
    rng = random.Random(1)
    turns: list[tuple[str, str]] = []
    for topic in topics * 6:
        prompt, answer = rng.choice(topic.prompts), rng.choice(topic.answers)
        while len(prompt) < PROMPT_CHARS - 20:
            prompt += " " + rng.choice(prompts)
        while len(answer) < RESPONSE_CHARS - 60:
            answer += " " + rng.choice(answers)
        turns.append((prompt, answer))
    return turns


def _answers(data: Path) -> list[tuple[str, str]]:
    """Of a language model, about as long as a chat turn."""
    rows = read_rows(data / "groundedness-halueval-general-noctx.jsonl")
    turns = [(row.prompt or "", row.response or "") for row in rows]
    return [(p, r) for p, r in turns if len(p) < 2 * PROMPT_CHARS and abs(len(r) - RESPONSE_CHARS) < 100]


def _conversations(turns: list[tuple[str, str]], chunks: int, size: int) -> list[Conversation]:
    """The turns, each with chunks of the notes of the simulated assistant, none like another."""
    notes = cycle(topic.note for topic in library().topics)
    found: list[Conversation] = []
    for prompt, response in turns:
        context = list[str]()
        for _ in range(chunks):
            text = ""
            while len(text) < size:
                text += next(notes) + " "
            context.append(text[:size])
        found.append(Conversation(prompt=prompt, response=response, context=tuple(context)))
    return found


if __name__ == "__main__":
    main()
