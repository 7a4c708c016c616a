"""What a user's SQL may do: read the documented views with functions that only compute.

In: the text of a query. Out: the same query as the engine's own parser writes it, which is what is then run, or an
AssayError in the user's words. The engine parses; only its syntax tree is judged here, by what is allowed. The
connection that runs the query can only read (`Store.isolated`); this closes what that leaves open: files read by a
function or written by INTO OUTFILE, other processes' queries, facts about the machine, and other databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from assay.analytics.sql_errors import in_plain_words
from assay.errors import AssayError, StoreError
from assay.store.connect import Store

VIEWS = ("calls", "scores_wide", "sessions")
"""The stable schema, docs/sql.md."""

TABLE_FUNCTIONS = frozenset({"numbers", "zeros", "generateseries", "generate_series", "values"})

MOST_CHARACTERS = 100_000

_CATEGORIES = (
    "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional", "Dates and Times", "Distance", "Encoding",
    "Encryption", "Financial", "Geo", "Geo Polygon", "Hash", "IP Address", "JSON", "Logical", "Map", "Mathematical",
    "Nested", "Null", "NumericIndexedVector", "Random Number", "Rounding", "String", "String Replacement",
    "String Search", "String Splitting", "Time Series", "Time Window", "Tuple", "Type Conversion", "URL", "UUID",
)  # fmt: skip
"""The engine's own categories of functions that compute; others ask files, models, dictionaries or the machine."""

_FUNCTIONS = (
    "_CAST", "bar", "byteSize", "caseWithExpression", "countDigits", "finalizeAggregation", "formatReadableDecimalSize",
    "formatReadableQuantity", "nested", "__scalarSubqueryResult",
    "formatReadableSize", "formatReadableTimeDelta", "getSubcolumn", "identity", "initializeAggregation", "isConstant",
    "isDecimalOverflow", "materialize", "minSampleSizeContinuous", "minSampleSizeConversion",
    "parseISO8601Duration", "parseReadableSize", "parseReadableSizeOrNull", "parseReadableSizeOrZero", "parseTimeDelta",
    "rowNumberInAllBlocks", "rowNumberInBlock",
    "throwIf", "toTypeName", "transform", "variantElement", "variantType",
    "version", "visibleWidth",
)  # fmt: skip
"""Harmless ones of the categories Other and Internal."""

_NODES = frozenset(
    """
    SelectWithUnionQuery SelectIntersectExceptQuery SelectQuery ExpressionList Identifier Literal Function Subquery
    TablesInSelectQuery TablesInSelectQueryElement TableExpression TableIdentifier TableJoin ArrayJoin WithElement
    Asterisk QualifiedAsterisk ColumnsRegexpMatcher ColumnsListMatcher QualifiedColumnsRegexpMatcher
    QualifiedColumnsListMatcher ColumnsTransformerList ColumnsExceptTransformer ColumnsReplaceTransformer
    ColumnsReplaceTransformer::Replacement OrderByElement WindowDefinition WindowListElement InterpolateElement
    SampleRatio StorageOrderByElement
    """.split()  # noqa: SIM905
)

_TOLD = {
    "Set": "leave SETTINGS out: the limits are set in assay.toml under [sql]",
    "ColumnsApplyTransformer": "write the columns out instead of APPLY",
    "QueryParameter": "write values into the query: parameters such as {name:String} cannot be filled in",
}


class _Node(NamedTuple):
    kind: str
    name: str
    parents: tuple[_Node, ...]


def checked(store: Store, query: str, refused: frozenset[str]) -> str:
    """The query as it is run. Raises AssayError for what it may not do, with what to do instead.

    `refused` are the functions that it may not call (`refused_functions`).
    """
    text = query.strip().removesuffix(";")
    if not text:
        raise AssayError("there is no query: write for example SELECT model, count() FROM calls GROUP BY model")
    if len(text) > MOST_CHARACTERS:
        raise AssayError(f"the query has {len(text):,} characters: {MOST_CHARACTERS:,} are allowed")
    canonical = _parsed(store, text)
    nodes = list(_nodes(_explained(store, canonical)))
    for node in nodes:
        if node.kind not in _NODES:
            raise AssayError(_TOLD.get(node.kind, f"only SELECT is allowed here, not {node.kind}"))
    _check_tables(store, nodes)
    _check_functions(nodes, refused)
    return canonical


def _parsed(store: Store, text: str) -> str:
    try:
        [row] = store.query("SELECT formatQuerySingleLine({query:String}) AS canonical", {"query": text})
    except StoreError as error:
        raise AssayError(in_plain_words(str(error), VIEWS, text)) from None
    canonical = str(row["canonical"])
    without_texts = re.sub(r"'(?:[^'\\]|\\.)*'", "''", canonical)
    if "\\" in without_texts:
        raise AssayError("a name in the query has a backslash, quote or control character: rename it")
    if not re.match(r"[\s(]*(SELECT|WITH)\b", canonical):
        raise AssayError(f"only SELECT is allowed here, not {canonical.split(maxsplit=1)[0]}")
    return canonical


def _explained(store: Store, canonical: str) -> list[str]:
    """The engine's syntax tree, a line a node; in a subquery the engine explains nothing but a plain SELECT."""
    try:
        return [row["explain"] for row in store.query(f"SELECT explain FROM (EXPLAIN AST {canonical})")]
    except StoreError as error:
        said = str(error)
        if "output options" in said:
            raise AssayError("leave FORMAT and INTO OUTFILE out: ask for JSON or CSV instead") from None
        raise AssayError(in_plain_words(said, VIEWS, canonical)) from None


def _nodes(lines: list[str]) -> Iterator[_Node]:
    above: list[_Node] = []
    for line in lines:
        depth = len(line) - len(line.lstrip(" "))
        kind, _, rest = line.strip().partition(" ")
        name = re.sub(r"( \(alias .*\))?( \(children \d+\))?$", "", rest)
        node = _Node(kind, name, tuple(above[:depth]))
        above[depth:] = [node]
        yield node


def _check_tables(store: Store, nodes: list[_Node]) -> None:
    # A query without FROM reads the engine's table of one row.
    read = {node.name for node in nodes if node.kind == "TableIdentifier"} - {"system.one"}
    # `x IN name` may mean a table, too.
    named = read | {node.name for node in nodes if node.kind == "Identifier" and _beside_in(node)}
    rows = store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        {"names": sorted(named)},
    )
    hidden = {row["name"] for row in rows}.difference(VIEWS)
    elsewhere = {name for name in read if "." in name} | {name for name in named if _OTHER_DATABASE.match(name)}
    for name in sorted(hidden | elsewhere):
        raise AssayError(f"{name} cannot be read: there are {', '.join(VIEWS)} (docs/sql.md has their columns)")


_OTHER_DATABASE = re.compile(r"(system|information_schema)\.", re.IGNORECASE)
_IN = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)


def _beside_in(node: _Node) -> bool:
    return len(node.parents) > 1 and node.parents[-2].kind == "Function" and bool(_IN.fullmatch(node.parents[-2].name))


def _check_functions(nodes: list[_Node], refused: frozenset[str]) -> None:
    for node in nodes:
        if node.kind != "Function":
            continue
        is_table = bool(node.parents) and node.parents[-1].kind == "TableExpression"
        if is_table and node.name.lower() not in TABLE_FUNCTIONS:
            raise AssayError(f"{node.name}() cannot be read as a table: only numbers, generateSeries and values can")
        if not is_table and node.name.lower() in refused:
            raise AssayError(f"{node.name}() cannot be used: only functions that compute from the query's data can")


def refused_functions(store: Store) -> frozenset[str]:
    """Names, in lower case, of the engine's functions that do more than compute, and of users' own."""
    rows = store.query(
        """
        WITH known AS (SELECT * FROM system.functions)
        SELECT lower(name) AS lowered FROM known AS called
        LEFT JOIN (SELECT name AS target, categories AS of_target FROM known) AS meant ON meant.target = called.alias_to
        WHERE NOT is_aggregate AND (
            origin != 'System'
            OR if(alias_to = '', categories, of_target) NOT IN {categories:Array(String)}
                AND if(alias_to = '', name, alias_to) NOT IN {allowed:Array(String)})
        UNION DISTINCT
        SELECT lower(name) FROM system.table_functions WHERE lower(name) NOT IN (SELECT lower(name) FROM known)
        """,
        {"categories": list(_CATEGORIES), "allowed": list(_FUNCTIONS)},
    )
    return frozenset(row["lowered"] for row in rows)
