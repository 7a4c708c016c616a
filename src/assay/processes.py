"""An object in a process of its own: its methods are called there, and it ends with this process.

The pools of the standard library leave their children behind when the parent is killed; here the child reads from a
socket whose other end the parent holds, and a closed socket ends it.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from assay.errors import AssayError

START_SECONDS = 120.0
"""For so long a child may import and load what it needs."""


class ProcessEnded(AssayError):
    """The process died, or said nothing for too long and was ended; `told` is what it told last, or None."""

    def __init__(self, message: str, told: Any = None) -> None:
        super().__init__(message)
        self.told = told


class _Told(NamedTuple):
    what: Any


class _Raised(NamedTuple):
    error: Exception


class RemoteObject:
    """What `make(*arguments)` makes, in a process of its own. Everything that goes over is pickled.

    `ask` from one thread at a time. Raises ProcessEnded where it cannot be started, else what `make` raises.
    """

    def __init__(self, make: Callable[..., object], *arguments: Any) -> None:
        here, there = socket.socketpair()
        with there:
            # In a session of its own: a Ctrl-C at the terminal is the server's affair alone.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "assay.processes"], stdin=there.fileno(), start_new_session=True
            )
        self._connection: Connection[Any, Any] = Connection(here.detach())
        try:
            self._connection.send(sys.path)
            self._exchange((make, arguments), START_SECONDS)
        except Exception:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ask(self, method: str, *arguments: Any, patience: float | None = None) -> Any:
        """The answer of a method there. A method that is a generator tells what it yields and answers its return.

        Raises what the method raises; ProcessEnded where the process dies or is silent for `patience` seconds.
        """
        return self._exchange((method, arguments), patience)

    def kill(self) -> None:
        """End the process from another thread than the one that asks, which finds that it ended."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _exchange(self, question: object, patience: float | None) -> Any:
        told = None
        try:
            self._connection.send(question)
            while True:
                if not self._connection.poll(patience):
                    self._process.kill()
                    raise ProcessEnded(f"process {self.pid} said nothing for {patience:g} s and was ended", told)
                answer = self._connection.recv()
                if not isinstance(answer, _Told):
                    break
                told = answer.what
        except (OSError, EOFError) as error:
            raise ProcessEnded(f"process {self.pid} ended ({error!r})", told) from None
        if isinstance(answer, _Raised):
            raise answer.error
        return answer


def _serve(connection: Connection[Any, Any]) -> None:
    """What a child does until the other end is gone."""
    try:
        sys.path[:] = connection.recv()
        served = _answered(connection, lambda make, arguments: make(*arguments), keep=True)
        while served is not None:
            _answered(connection, lambda method, arguments: getattr(served, method)(*arguments))
    except (EOFError, OSError):
        return


def _answered(connection: Connection[Any, Any], run: Callable[[Any, Any], Any], *, keep: bool = False) -> Any:
    """Runs the next question and sends the answer; with `keep` only that it worked, and the result is given back."""
    question = connection.recv_bytes()
    try:
        result = run(*pickle.loads(question))  # noqa: S301 from the process that started this one
        if isinstance(result, Generator):
            result = _told(connection, result)
    except Exception as error:
        _send(connection, _Raised(error))
        return None
    _send(connection, None if keep else result)
    return result


def _told(connection: Connection[Any, Any], steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            connection.send(_Told(next(steps)))
        except StopIteration as end:
            return end.value


def _send(connection: Connection[Any, Any], answer: object) -> None:
    try:
        connection.send(answer)
    except (TypeError, ValueError, AttributeError) as error:
        connection.send(_Raised(AssayError(f"an answer cannot be sent: {error!r} ({answer!r:.200})")))


if __name__ == "__main__":
    from assay import processes

    # As a module of its name, so that what is pickled here is known by the same name there.
    processes._serve(Connection(sys.stdin.fileno()))  # pyright: ignore[reportPrivateUsage]
