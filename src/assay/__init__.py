"""Assay: see, price and judge every call that an application makes to a language model.

import assay
assay.init()
with assay.session("user_001"):
    client.chat.completions.create(...)   # an ordinary client of any instrumented library
"""

from assay.client.feedback import score
from assay.client.labels import label
from assay.client.llm import MonitoredLLM, MonitoredResponse
from assay.client.model import MonitoredModel
from assay.client.monitor import Monitor, connect
from assay.client.observe import observe
from assay.client.session import session
from assay.client.setup import flush, init
from assay.errors import AssayError

__all__ = [
    "AssayError",
    "Monitor",
    "MonitoredLLM",
    "MonitoredModel",
    "MonitoredResponse",
    "connect",
    "flush",
    "init",
    "label",
    "observe",
    "score",
    "session",
]
