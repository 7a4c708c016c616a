"""Objects in processes of their own: what they answer, what they raise, and that they never outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from assay.errors import AssayError
from assay.processes import ProcessEnded, RemoteObject
from conftest import eventually


class Counter:
    """What the tests put into another process."""

    def __init__(self, start: int) -> None:
        self.at = start

    def add(self, more: int) -> int:
        self.at += more
        return self.at

    def fail(self, error: Exception) -> None:
        raise error

    def unsendable(self) -> Any:
        return lambda: None

    def end(self) -> Generator[str, None, None]:
        yield "about to end"
        os._exit(3)

    def hang(self) -> Generator[str, None, None]:
        yield "one"
        yield "two"
        time.sleep(600)

    def count(self, upto: int, pause: float) -> Generator[int, None, str]:
        for number in range(upto):
            time.sleep(pause)
            yield number
        return "done"


@pytest.fixture
def counter() -> Iterator[RemoteObject]:
    remote = RemoteObject(Counter, 5)
    yield remote
    remote.close()


def test_an_object_keeps_its_state_between_questions(counter: RemoteObject) -> None:
    assert [counter.ask("add", 1), counter.ask("add", 10)] == [6, 16]
    assert counter.pid != os.getpid()


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), FileNotFoundError("x"), EOFError(), AssayError("ours")])
def test_what_a_method_raises_is_raised_here_and_the_process_goes_on(counter: RemoteObject, error: Exception) -> None:
    with pytest.raises(type(error)):
        counter.ask("fail", error)
    assert counter.ask("add", 0) == 5


def test_an_answer_that_cannot_be_sent_is_an_error_and_no_end(counter: RemoteObject) -> None:
    with pytest.raises(AssayError, match="cannot be sent"):
        counter.ask("unsendable")
    assert counter.ask("add", 0) == 5


def test_what_cannot_be_made_is_told() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        RemoteObject(int, "seven")


def test_a_process_that_ends_is_told_with_what_it_was_at(counter: RemoteObject) -> None:
    with pytest.raises(ProcessEnded, match=f"process {counter.pid} ended") as ended:
        counter.ask("end")
    assert ended.value.told == "about to end"
    with pytest.raises(ProcessEnded):
        counter.ask("add", 1)


def test_a_process_that_says_nothing_is_ended_and_one_that_goes_on_telling_is_not(counter: RemoteObject) -> None:
    assert counter.ask("count", 10, 0.1, patience=0.8) == "done"
    with pytest.raises(ProcessEnded, match=r"said nothing for 0\.3 s") as ended:
        counter.ask("hang", patience=0.3)
    assert ended.value.told == "two"
    eventually(lambda: not alive(counter.pid))


def test_a_process_ends_when_its_owner_is_killed() -> None:
    program = (
        "import time; from assay.processes import RemoteObject as R; print(R(int).pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    eventually(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
