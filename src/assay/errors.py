"""The errors of Assay: one small tree. Every message says what happened, with which value, and what to do."""


class AssayError(Exception):
    """Anything that Assay itself refuses or cannot do."""
