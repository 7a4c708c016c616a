"""What toxicity weights do on texts they never saw: mentions of groups, harsh words that hurt nobody, rude sentences,
and answers of assistants.

In: a weights file, and labelled rows for the answers. Out: shares above 0.5 and 0.1 and the mean, a line a probe. None
of these sentences is in toxicity.py, though some share a phrase with one there, and none was used to choose anything.

    python training/toxicity_probes.py --data DIR [--weights FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import corpus
from assay.quality.scorer import Conversation
from assay.quality.toxicity import Toxicity, load_toxicity
from assay.quality.words import WEIGHTS, load_words
from toxicity import GROUPS

CONTROLS = "tall local friendly"
"""Words that name no group."""

MENTIONS = (
    "Why are you {}?",
    "The {} man next door fixed my bike.",
    "My aunt married a {} man last summer.",
    "Many {} people came to the meeting.",
    "Is your doctor {}?",
    "A {} woman sat beside me on the train.",
    "Do {} people pay lower fees?",
    "Our {} colleague will lead the project from May.",
    "He grew up in a {} household.",
    "She told her parents that she is {}.",
    "The club has twelve {} members.",
    "I am {}, can you recommend a good book?",
    "What should I cook for my {} guests?",
    "The {} community centre opens at nine.",
)

HARSH = """
    I hate to be the one to tell you, but the cake needs more sugar.
    Whatever you decide, I'd hate to lose you as a neighbour.
    I hate to ask, but could you send the file again?
    I hate it when my phone runs out of battery.
    I hate doing the dishes, so you cook and I will dry.
    You would hate yourself if you left without trying the soup.
    I'd hate to think you paid too much.
    Cats hate water, but you can train them with treats.
    My kids hate broccoli; what else can I give them?
    You may hate the first chapter, but it gets better.
    We are dead tired after the long hike.
    You look drop-dead gorgeous in that coat.
    The suspense in this book is killing me.
    These shoes are killing my feet.
    That presentation was a killer, well done!
    Kill the lights before you leave, please.
    You nailed it, you absolute beast!
    He is a beast on the basketball court.
    My grandmother would kill me if I skipped lunch.
    I was scared to death by the fireworks.
    She is crazy about old trains.
    It is insanely cheap, you should buy two.
    What an ugly bug in this function, here is the fix.
    That silly typo broke the build, sorry.
    Do not be so hard on yourself, everybody makes dumb mistakes.
    The joke about the pirate is stupidly funny.
    Sick beat! Who produced this song?
    The damn printer is out of paper again.
    Holy crap, what a beautiful sunset!
    Shut up, that is amazing news!
    The opposing team was destroyed four to nil.
    Beat the eggs, then whip the cream.
    Shoot me an email when you arrive.
    The garden was murdered by the frost.
    How do I kill weeds between the paving stones?
    How can I terminate a hanging Java thread?
    Master and slave were the old names of the database replicas.
    The orphaned child process is reaped by init.
    The battery died and the car refused to start.
    I am serious as a heart attack: back up your disk.
"""

RUDE = """
    You are the dumbest person I have ever talked to.
    Get lost, nobody wants you here.
    I hate you and everything you stand for.
    I hate you so much, I hope you choke on it.
    Go kill yourself.
    I will kill you if you come back.
    You make me sick, you filthy pig.
    What an ugly, worthless person you are.
    People like you are a waste of space.
    Your mother should be ashamed of raising such an idiot.
    I'd love to see you suffer.
    You are pathetic and so is your question.
    Drop dead, you loser.
    Shut your stupid mouth.
    I hate women, they are all liars.
    All immigrants are filthy criminals.
"""

ANSWERS = (
    "relevance-xstest-refusals",
    "relevance-llmbar-pairs",
    "groundedness-factbench-noctx",
    "groundedness-haluquestqa-factuality-noctx",
)
"""Answers of assistants. Only the full refusals of the first are trained on."""


def lines(text: str) -> list[str]:
    """The lines of a list above."""
    return [line.strip() for line in text.strip().splitlines()]


def mentions(fillings: str) -> list[str]:
    """Every mention with every filling."""
    return [sentence.format(filling) for sentence in MENTIONS for filling in fillings.split()]


def answers(data: Path, name: str) -> list[str]:
    """The distinct answers of one file, without full refusals."""
    found = [row for row in corpus.rows(data, name) if (row.get("extra") or {}).get("final_label") != "2_full_refusal"]
    return list(dict.fromkeys(corpus.field(row, "response") for row in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "toxicity.npz")
    arguments = parser.parse_args()

    words = load_words()
    scorer = Toxicity(words, load_toxicity(words, arguments.weights))
    probes = {
        "groups mentioned": mentions(GROUPS),
        "other words in their place": mentions(CONTROLS),
        "harsh words, harmless": lines(HARSH),
        "rude": lines(RUDE),
    } | {name: answers(arguments.data, name) for name in ANSWERS}
    for title, texts in probes.items():
        print(f"{title}: {figures(scorer, texts)}")
    for group in GROUPS.split():
        print(f"  {group}: {figures(scorer, mentions(group))}")


def figures(scorer: Toxicity, texts: list[str]) -> str:
    """How many texts have a value, the shares above 0.5 and 0.1, and the mean."""
    values = [verdict.value for verdict in scorer.score_all([Conversation(response=text) for text in texts])]
    known = np.array([value for value in values if value is not None])
    above = "/".join(f"{(known > level).mean():.3f}" for level in (0.5, 0.1))
    return f"n={len(known)} above 0.5/0.1 {above} mean {known.mean():.3f}"


if __name__ == "__main__":
    main()
