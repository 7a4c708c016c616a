"""When reports are due, and of which time they tell: by the clocks of people, through changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import load_config
from assay.errors import ConfigError
from assay.timetable import ScheduledReport, period, timetable

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(
    st.sampled_from(["day 07:00", "monday 00:00", "sunday 23:59", "month 1 08:00", "month 28 02:30", "day 02:30"]),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
def test_the_last_due_time_is_over_and_the_next_is_not_and_between_them_is_none(
    every: str, zone: str, now: datetime
) -> None:
    due = timetable(every, zone)
    last, following = due.last(now), due.next(now)
    assert last <= now < following
    assert due.next(last) == following
    assert due.last(following) == following
    assert due.last(following - timedelta(microseconds=1)) == last


@pytest.mark.parametrize(
    ("every", "zone", "now", "last"),
    [
        ("monday 08:00", "UTC", "2026-11-24T10:00:00", "2026-11-23T08:00:00"),
        ("monday 08:00", BERLIN, "2026-11-24T10:00:00", "2026-11-23T07:00:00"),
        ("monday 08:00", BERLIN, "2026-07-07T10:00:00", "2026-07-06T06:00:00"),
        ("day 07:00", "UTC", "2026-11-24T06:59:59", "2026-11-23T07:00:00"),
        ("month 1 08:00", "UTC", "2026-11-24T06:59:59", "2026-11-01T08:00:00"),
        # Clocks skip 02:30 on 29 March 2026, and show it twice on 25 October.
        ("day 02:30", BERLIN, "2026-03-29T12:00:00", "2026-03-29T01:30:00"),
        ("day 02:30", BERLIN, "2026-10-25T12:00:00", "2026-10-25T00:30:00"),
    ],
)
def test_due_times_go_by_the_clock_of_the_zone(every: str, zone: str, now: str, last: str) -> None:
    assert timetable(every, zone).last(utc(now)) == utc(last)


@pytest.mark.parametrize(
    ("length", "zone", "since", "until"),
    [
        ("7d", "UTC", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("1w", BERLIN, "2026-11-15T23:00:00", "2026-11-22T23:00:00"),
        ("24h", BERLIN, "2026-11-22T07:00:00", "2026-11-23T07:00:00"),
        ("1month", "UTC", "2026-10-01T00:00:00", "2026-11-01T00:00:00"),
        ("12 months", "UTC", "2025-11-01T00:00:00", "2026-11-01T00:00:00"),
        # From before the change of clocks on 25 October, which makes it an hour longer.
        ("30d", BERLIN, "2026-10-23T22:00:00", "2026-11-22T23:00:00"),
    ],
)
def test_a_period_is_whole_days_that_are_over_or_the_last_hours(length: str, zone: str, since: str, until: str) -> None:
    assert period(length).before(utc("2026-11-23T07:00:00"), ZoneInfo(zone)) == (utc(since), utc(until))


@pytest.mark.parametrize(
    ("every", "since"),
    [("day 07:00", "2026-11-23"), ("monday 08:00", "2026-11-17"), ("month 1 08:00", "2026-10-01")],
)
def test_without_a_period_a_report_tells_of_the_day_week_or_month_before(every: str, since: str) -> None:
    one = ScheduledReport(name="r", every=every, channels=["mail"])
    assert one.covers.before(utc("2026-11-24T09:00:00"), one.timetable.zone)[0] == utc(since)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": "mondays at 8"}, 'no timetable: write "day 07:00", "monday 08:00" or "month 1 08:00"'),
        ({"every": "moonday 08:00"}, "'moonday 08:00' is no timetable"),
        ({"every": "day 24:00"}, "'day 24:00' is no timetable"),
        ({"every": "month 31 08:00"}, "not every month has a day 31: choose one from 1 to 28"),
        ({"zone": "Berlin"}, "'Berlin' is no time zone: write for example Europe/Berlin or UTC"),
        ({"zone": "../etc/passwd"}, "is no time zone"),
        ({"period": "a while"}, '\'a while\' is no period: write for example "24h", "7d", "2w" or "1month"'),
        ({"format": "docx"}, "Input should be 'html', 'pdf' or 'md'"),
        ({"channels": []}, "at least 1 item"),
        ({"filter": {"colour": "red"}}, "cannot filter by 'colour': choose of project, environment"),
        ({"chanels": ["x"]}, "report.0.chanels: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_report_in_the_settings_says_what_can_be_written(wrong: dict[str, object], said: str) -> None:
    right = {"name": "weekly", "every": "monday 08:00", "channels": ["mail"]}
    with pytest.raises(ConfigError) as raised:
        load_config(report=[{**right, **wrong}])
    assert said in str(raised.value)


def test_two_reports_cannot_share_a_name() -> None:
    one = {"name": "weekly", "every": "monday 08:00", "channels": ["mail"]}
    with pytest.raises(ConfigError, match="there are two reports named 'weekly': give each a name of its own"):
        load_config(report=[one, one])
