"""The `assay` command."""

from __future__ import annotations
import sys
from assay.config import Config
from assay.server.serve import serve
def main() -> None:
    serve(Config(), print)
