"""The errors of Assay: one small tree. Every message says what happened, with which value, and what to do."""


class AssayError(Exception):
    """Anything that Assay itself refuses or cannot do."""


class ConfigError(AssayError):
    """A setting that cannot be used; the message names the setting and the fix."""


class StoreError(AssayError):
    """The store cannot be opened, read or written."""


class StoreUnavailable(StoreError):
    """The store cannot take this now (closed, full, unreachable); the same request may succeed later."""


class MalformedTelemetry(AssayError):
    """A body that can never be accepted; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NotFound(AssayError):
    """What was asked for is not in the store."""


class ServerError(AssayError):
    """An Assay server could not be reached, or answered with an error."""


def traced(error: Exception) -> Exception | None:
    """The error, where a log should show its trace: of what may pass the message says all."""
    return None if isinstance(error, StoreUnavailable) else error
