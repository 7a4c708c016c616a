"""alerts.toml: what is right holds, what is wrong is told with its line and what to do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.alerts.rules import default_rules, parse_rules

RULE = '[[rule]]\nname = "{name}"\nmetric = "latency"\nabove = 100\n'


def test_the_default_rules_are_valid_and_hold_the_lab_s_five_limits_with_their_severities() -> None:
    book = default_rules()
    assert book.problems == []
    limits = {(rule.metric, getattr(rule, "limit", None), rule.severity) for rule in book.rules.values()}
    assert {
        ("toxicity", 0.1, "HIGH"),
        ("relevance", 0.7, "MEDIUM"),
        ("latency_ms", 2000.0, "MEDIUM"),
        ("cost", 0.1, "LOW"),
        ("coherence", 0.6, "LOW"),
    } <= limits
    assert {rule.kind for rule in book.rules.values()} == {"threshold", "baseline", "shift", "slo", "absent", "drift"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[[rule]]\nname = "a"\nmetric = "latency"\nabov = 3\n', 4, "abov is no setting of this kind"),
        ('[[rule]]\nname = "a"\nmetric = "latency"\n', 1, "give one limit: above = ... or below = ..."),
        (
            '[[rule]]\nname = "a"\nkind = "sift"\nmetric = "x"\n',
            3,
            "must be threshold, baseline, shift, slo, absent",
        ),
        ('[[rule]]\nname = "a\nmetric = "x"\n', 2, "this is no TOML"),
        ('[[rule]]\nname = "a"\nmetric = "cost"\nabove = 3\nwindow = "3x"\n', 5, "write for example 30s, 15m, 6h"),
        ('[[rule]]\nname = "a"\nmetric = "cost"\nabove = 3\n[rule.filter]\nprojekt = "x"\n', 6, "is no dimension"),
        ('[[rule]]\nname = "a"\nmetric = "drift:age"\nabove = 3\n', 3, 'write kind = "drift"'),
        ('[[rule]]\nname = "a"\nmetric = "cost"\naggregate = "share"\nabove = 3\n', 1, "needs one limit on each call"),
        ('[[rule]]\nname = "a"\nmetric = "cost"\nabove = 3\nchannels = ["no"]\n', 5, "no channel 'no'"),
        ('[[rule]]\nname = "a"\nkind = "shift"\nmetric = "x"\n', 1, "direction is missing: add it"),
        ('[[channel]]\nname = "a"\nwebhook = "https://x.example"\n', 1, "webhook needs a secret"),
        ('[[maintenance]]\nname = "a"\nzone = "Mars/Base"\n', 3, "is no time zone"),
        ("[alarm]\n", 1, "[alarm] is unknown"),
        ('x = 1\n[[rule]]\nname = "a"\nmetric = "cost"\nabove = 1\n', 1, "'x' is unknown"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_the_right_rules_stand(text: str, line: int, said: str) -> None:
    before = RULE.format(name="good") + "\n"
    book = parse_rules(text if text.startswith("x") else before + text, defaults=False)
    offset = 0 if text.startswith("x") else before.count("\n")
    [problem] = book.problems
    assert (problem.line, said in problem.message) == (line + offset, True), problem
    if offset:
        assert "good" in book.rules


def test_a_second_rule_of_one_name_is_refused_with_the_line_of_the_first() -> None:
    book = parse_rules(RULE.format(name="a") + RULE.format(name="a").replace("100", "7"), defaults=False)
    assert [(problem.line, "in line 1" in problem.message) for problem in book.problems] == [(6, True)]
    assert book.rules["a"].limit == 100  # pyright: ignore


def test_a_rule_takes_the_place_of_a_default_one_and_the_file_can_leave_all_of_them_out() -> None:
    mine = parse_rules(RULE.format(name="high-latency"))
    assert mine.rules["high-latency"].limit == 100  # pyright: ignore
    assert len(mine.rules) == len(default_rules().rules)
    assert list(parse_rules("defaults = false\n" + RULE.format(name="a")).rules) == ["a"]


def test_a_bracket_in_a_text_of_several_lines_begins_no_table() -> None:
    text = '[[maintenance]]\nname = """a\n[[rule]]\n"""\ndays = ["mon"]\nat = "22:00"\n'
    book = parse_rules(text, defaults=False)
    assert book.problems == []
    assert book.maintenance[0].name == "a\n[[rule]]\n"


@given(st.text(max_size=200))
def test_no_text_whatever_breaks_the_reading(text: str) -> None:
    book = parse_rules(text + "\n" + RULE.format(name="good"), defaults=False)
    assert "good" in book.rules or book.problems


def test_a_maintenance_window_covers_its_nights_across_midnight_and_summer_time() -> None:
    text = """[[maintenance]]
name = "nightly"
days = ["sat"]
at = "23:00"
length = "2h"
zone = "Europe/Berlin"
"""
    [window] = parse_rules(text, defaults=False).maintenance
    covered = {hour: window.covers(datetime(2026, 7, 4, hour, 30, tzinfo=UTC)) for hour in (20, 21, 22, 23)}
    assert covered == {20: False, 21: True, 22: True, 23: False}, "23:00 in Berlin is 21:00 UTC in July"
    assert not window.covers(datetime(2026, 7, 5, 21, 30, tzinfo=UTC))
