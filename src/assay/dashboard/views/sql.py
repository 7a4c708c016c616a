"""Ask in SQL: an editor, the answer as a table and as CSV, and the schema beside it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from assay.client.rows import as_csv, as_text
from assay.dashboard.data import Answer
from assay.dashboard.inert import inert
from assay.dashboard.visit import Visit, answered
from assay.errors import AssayError

EXAMPLES = {
    "What each model costs": """SELECT model, count() AS calls, sum(cost_usd) AS cost_usd
FROM calls
WHERE started_at > now() - INTERVAL 7 DAY
GROUP BY model
ORDER BY cost_usd DESC""",
    "The least relevant answers": """SELECT c.started_at, s.relevance, c.prompt, c.response
FROM scores_wide AS s
JOIN calls AS c USING (project, span_id)
WHERE s.relevance IS NOT NULL AND s.started_at > now() - INTERVAL 7 DAY
ORDER BY s.relevance
LIMIT 20""",
    "Errors by type and hour": """SELECT toStartOfHour(started_at) AS hour, error_type, count() AS calls
FROM calls
WHERE status = 'error' AND started_at > now() - INTERVAL 1 DAY
GROUP BY hour, error_type
ORDER BY hour DESC, calls DESC""",
    "The longest sessions": """SELECT session_id, calls, cost_usd,
    dateDiff('minute', first_call_at, last_call_at) AS minutes
FROM sessions
ORDER BY calls DESC
LIMIT 20""",
}

_NUMBERS = ("Int", "UInt", "Float")


def page(visit: Visit) -> None:
    """The editor keeps what was written while one looks at other pages."""
    st.title("SQL", anchor=False)
    editor, schema = st.columns([5, 2])
    with schema:
        _schema(visit)
    with editor:
        _editor(visit)


def _editor(visit: Visit) -> None:
    example = st.pills("Examples", list(EXAMPLES), key="sql_example", label_visibility="collapsed")
    if example and st.session_state.get("sql_shown") != example:
        st.session_state["sql_shown"], st.session_state["sql_query"] = example, EXAMPLES[example]
    # A widget's own state goes with the page; the copy of it in "sql" stays.
    st.session_state.setdefault("sql_query", st.session_state.get("sql", next(iter(EXAMPLES.values()))))
    with st.form("sql_form", border=False):
        query = st.text_area("Query", key="sql_query", height=220, label_visibility="collapsed")
        run = st.form_submit_button("Run", icon=":material/play_arrow:", type="primary", help="Ctrl+Enter")
    if run:
        st.session_state["sql"] = query
        st.session_state["sql_answer"] = _asked(visit, query or "")
    answer = st.session_state.get("sql_answer")
    if isinstance(answer, str):
        st.error(inert(answer), icon=":material/error:")
    elif answer:
        _answer(answer)


def _asked(visit: Visit, query: str) -> Answer | str:
    """The answer, or why there is none."""
    try:
        with st.spinner("Running", show_time=True):
            return visit.monitor.sql(query)
    except AssayError as error:
        return str(error)


def _answer(answer: Answer) -> None:
    names = [column["name"] for column in answer["columns"]]
    rows: list[list[Any]] = answer["rows"]
    told = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}, {answer['rows_read']:,} read"
    told += f" in {answer['seconds'] * 1000:,.0f} ms"
    if answer["truncated"]:
        st.warning("There are more rows than are shown: group them, or add a LIMIT.", icon=":material/content_cut:")
    st.dataframe(_columns(answer), hide_index=True)
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.caption(told)
    right.download_button(
        "CSV", as_csv(names, rows), "assay-query.csv", "text/csv", icon=":material/download:", width="stretch"
    )


def _columns(answer: Answer) -> dict[str, list[Any]]:
    """Values by column, numbers as they are and all else as text; of columns with one name each keeps its place."""
    found = dict[str, list[Any]]()
    for place, column in enumerate(answer["columns"]):
        is_number = column["type"].removeprefix("Nullable(").startswith(_NUMBERS)
        values = [row[place] for row in answer["rows"]]
        name = column["name"] if column["name"] not in found else f"{column['name']} ({place + 1})"
        found[name] = values if is_number else [None if value is None else as_text(value) for value in values]
    return found


@answered
def _schema(visit: Visit) -> None:
    views = visit.monitor.sql_schema()
    for view, columns in views.items():
        with st.expander(view, icon=":material/table:", expanded=view == "calls"):
            lines = (f"{column['name']}  {_short(column['type'])}" for column in columns)
            st.code("\n".join(lines), language=None, height=320 if len(columns) > 14 else "content")


def _short(type_name: str) -> str:
    """The engine's type without what only matters to the engine."""
    return type_name.replace("LowCardinality(String)", "String").replace("DateTime64(6, 'UTC')", "DateTime")
