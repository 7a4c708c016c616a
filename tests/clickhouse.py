"""The HTTP interface of a ClickHouse server over the embedded engine, which is the same engine.

What a client of a server sends (settings and parameters in the URL, statements in the body or a form, compressed
inserts) is asked of a connection of its own, so that what is written for a server can be tested where there is none.
What only a server does is not here: users and their limits, clusters, errors in the middle of an answer.

    python clickhouse.py DIRECTORY PORT
"""

from __future__ import annotations

import gzip
import re
import sys
import tempfile
from typing import Any

import chdb
import lz4.frame
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_OF_HTTP = {"query", "database", "query_id", "session_id", "wait_end_of_query", "default_format", "compress"}
_OF_HTTP |= {"enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
_OF_HTTP |= {"cancel_http_readonly_queries_on_client_close", "client_protocol_version"}
_INSERT = re.compile(rb"\s*INSERT INTO [^\n]* FORMAT \w+[ \t]*\n?", re.IGNORECASE)
_UNPACKED = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress}


class Engine:
    """The engine of one directory; `ask` may be called by many threads."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open = chdb.connect(directory)  # keeps the engine up between requests

    def ask(self, asked: dict[str, str], statement: bytes) -> bytes:
        """The answer to a request with these URL parameters."""
        connection: Any = chdb.connect(self._directory)
        try:
            if database := asked.get("database"):
                connection.query(f"USE `{database}`")
            for name, value in asked.items():
                if name not in _OF_HTTP and not name.startswith("param_"):
                    connection.query(f"SET {name} = {_literal(value)}")
            bound = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
            if insert := _INSERT.match(statement):
                return _inserted(connection, statement[: insert.end()].decode(), statement[insert.end() :])
            return connection.query(statement.decode(), "TabSeparated", params=bound).bytes() or b""
        finally:
            connection.close()


def _inserted(connection: Any, insert: str, rows: bytes) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.write(rows)
        file.flush()
        into, _, format = insert.strip().rpartition(" FORMAT ")
        connection.query(f"{into} FROM INFILE '{file.name}' FORMAT {format}")
    return b""


def _literal(value: str) -> str:
    return value if re.fullmatch(r"-?\d+(\.\d+)?", value) else "'" + value.replace("'", "\\'") + "'"


def app(directory: str) -> Starlette:
    """What answers GET /ping and POST /."""
    engine = Engine(directory)

    async def answer(request: Request) -> Response:
        asked = dict(request.query_params)
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_part_size=1 << 30) as form:
                asked |= {name: str(value) for name, value in form.items()}
            body = b""
        else:
            body = await request.body()
            if unpacked := _UNPACKED.get(request.headers.get("content-encoding", "")):
                body = unpacked(body)
        statement = b"\n".join(filter(None, (asked.get("query", "").encode(), body)))
        try:
            found = await run_in_threadpool(engine.ask, asked, statement)
        except Exception as error:
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "1"}
            return PlainTextResponse(text, status_code=500, headers=headers)
        told = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Format": "TabSeparated"} if found else {}
        return Response(found, headers=told)

    def ping(_: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    return Starlette(routes=[Route("/ping", ping), Route("/", answer, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
