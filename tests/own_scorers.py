"""Scorers of one's own, good and bad, as a user's module: what the tests of scoring load by name."""

import os
import time

from assay.quality.custom import scorer
from assay.quality.scorer import Conversation, Verdict


@scorer("politeness")
def politeness(conversation: Conversation) -> tuple[bool, str]:
    return "please" in conversation.response, "looked for please"


@scorer("temper", version="7")
def temper(conversation: Conversation) -> Verdict:
    """Does to the process what the response asks for."""
    if conversation.response == "hang":
        time.sleep(600)
    if conversation.response == "crash":
        os._exit(9)
    if conversation.response == "raise":
        raise ValueError("lost my temper")
    return Verdict(value=1.0, reason="calm", confidence=0.5)


@scorer("silence")
def silence(conversation: Conversation) -> None:
    """Never has an opinion."""
