"""The journal alone: what was appended is there again after a crash, and damage is told, never hidden."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import StoreError, StoreUnavailable
from assay.ingest.batch import Request
from assay.ingest.journal import Journal, journal_directory

PROTOBUF = "application/x-protobuf"
REQUESTS = [Request("traces", PROTOBUF, b"\0one\0"), Request("logs", "application/json", b"{}"), Request("t", "c", b"")]


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "assay.lock")


def recovered(directory: Path) -> list[list[Request]]:
    """What the next process finds; it says of all that it is stored."""
    journal, found = Journal(directory), list[list[Request]]()
    for segment, requests in journal.leftovers():
        found.append(requests)
        journal.stored(segment, len(requests))
    journal.close()
    return found


def crashed(directory: Path, *groups: list[Request]) -> Path:
    """A directory with one segment, as a killed process leaves it; answers the segment's path."""
    journal = Journal(directory)
    segments = {journal.append(group).path for group in groups}
    journal.close()
    [path] = segments
    return path


def test_requests_are_there_again_in_order_and_gone_once_they_are_stored(tmp_path: Path) -> None:
    crashed(tmp_path, REQUESTS[:2], REQUESTS[2:])
    assert recovered(tmp_path) == [REQUESTS]
    assert files(tmp_path) == []


def test_a_segment_goes_when_all_of_its_requests_are_stored(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1)
    first, second = journal.append(REQUESTS), journal.append(REQUESTS)
    assert files(tmp_path) == ["0000000001.journal", "0000000002.journal"]
    journal.stored(first, 2)
    assert files(tmp_path) == ["0000000001.journal", "0000000002.journal"]
    journal.stored(first, 1)
    assert files(tmp_path) == ["0000000002.journal"]
    journal.stored(second, 3)
    assert (journal.size_bytes, (tmp_path / "0000000002.journal").stat().st_size) == (0, 0)
    journal.close()
    assert files(tmp_path) == []


@given(cut=st.integers(min_value=1))
def test_a_tail_cut_anywhere_costs_only_the_last_request(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("journal")
    whole = crashed(directory, [REQUESTS[0]]).stat().st_size
    recovered(directory)
    path = crashed(directory, [REQUESTS[0]], [REQUESTS[1]])
    size = path.stat().st_size
    os.truncate(path, whole + cut % (size - whole))
    assert recovered(directory) == [[REQUESTS[0]]]
    assert files(directory) == []


def test_a_torn_tail_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = crashed(tmp_path, REQUESTS[:1])
    os.truncate(path, path.stat().st_size - 1)
    with caplog.at_level(logging.WARNING):
        assert recovered(tmp_path) == [[]]
    assert "at the end that were never acknowledged" in caplog.text


@given(at=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_any_damaged_byte_is_reported_and_set_aside_and_the_rest_is_kept(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    first = crashed(directory, REQUESTS[:1]).stat().st_size
    recovered(directory)
    path = crashed(directory, *([request] for request in REQUESTS))
    data = bytearray(path.read_bytes())
    data[at % first] ^= flip
    path.write_bytes(data)
    assert recovered(directory) == [REQUESTS[1:]]
    assert files(directory) == [f"{path.name}.bad"]
    assert (directory / f"{path.name}.bad").read_bytes() == data


def test_what_is_said_to_be_unusable_is_set_aside_and_its_name_never_used_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.stored(journal.append(REQUESTS[:1]), 1, spoiled=True)
    assert files(tmp_path) == ["0000000001.journal.bad"]
    journal.append(REQUESTS[:1])
    journal.close()
    assert crashed(tmp_path, REQUESTS).name == "0000000003.journal"


def test_more_than_the_bound_is_refused_until_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=2000)
    kilobyte = Request("traces", PROTOBUF, bytes(1000))
    segment = journal.append([kilobyte])
    with pytest.raises(StoreUnavailable, match="wait to be stored"):
        journal.append([kilobyte])
    journal.stored(segment, 1)
    assert journal.append([kilobyte]).waiting == 1
    journal.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the system refuses in the middle of a write, as on a full disk."""
    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_fails_midway_is_refused_and_leaves_nothing_of_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(REQUESTS)
    before = (tmp_path / "0000000001.journal").read_bytes()
    with largest_file(len(before) + 10), pytest.raises(StoreUnavailable, match=os.strerror(errno.EFBIG)):
        journal.append(REQUESTS)
    assert (tmp_path / "0000000001.journal").read_bytes() == before
    journal.append(REQUESTS[:1])
    journal.close()
    assert recovered(tmp_path) == [REQUESTS, REQUESTS[:1]]


def test_one_process_holds_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(StoreError, match=r"another assay process holds it"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_the_journal_is_within_an_embedded_store_and_beside_the_process_for_a_server() -> None:
    assert journal_directory("chdb:////data/assay") == Path("/data/assay/journal")
    assert journal_directory("clickhouse://host/db") == Path("assay-journal")
