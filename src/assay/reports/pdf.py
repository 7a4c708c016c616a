"""HTML to PDF by WeasyPrint, which needs Pango of the system: where either is missing, an error says what to do."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from assay.errors import AssayError

NO_WEASYPRINT = (
    "PDF needs WeasyPrint: pip install 'assay[pdf]'. Or take --format html, which prints well from a browser."
)
NO_PANGO = (
    "PDF needs Pango, a library of the system: on Debian and Ubuntu apt-get install libpango-1.0-0 libpangoft2-1.0-0 "
    "libharfbuzz-subset0, on macOS brew install pango. Or take --format html, which prints well from a browser."
)


class NoPdf(AssayError):
    """PDF cannot be made on this machine; the message says what to install."""


def pdf(html: str) -> bytes:
    """The page as PDF, on A4. Nothing is fetched. Raises NoPdf."""
    weasyprint = _weasyprint()
    return weasyprint.HTML(string=html, url_fetcher=_refuse).write_pdf(pdf_variant="pdf/ua-1")


@cache
def why_no_pdf() -> str:
    """Why PDF cannot be made on this machine, "" where it can."""
    try:
        _weasyprint()
    except NoPdf as error:
        return str(error)
    return ""


def _weasyprint() -> Any:
    try:
        import weasyprint
    except ImportError:
        raise NoPdf(NO_WEASYPRINT) from None
    except OSError:
        raise NoPdf(NO_PANGO) from None
    # They tell of every property for screens that print does without.
    for name in ("weasyprint", "fontTools"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return weasyprint


def _refuse(url: str, *_: object, **__: object) -> Any:
    raise ValueError(f"a report asks for nothing: {url[:80]}")
