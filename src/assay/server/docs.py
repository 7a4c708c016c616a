"""The API described for people, made from its own OpenAPI document; the page loads nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader


def docs_page(openapi: dict[str, Any]) -> str:
    """An HTML page of every operation, its parameters and its JSON body."""
    template = Environment(loader=PackageLoader("assay.server"), autoescape=True).get_template("docs.html.jinja")
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    bodies = {operation["operationId"]: _body(openapi, operation) for operation in operations}
    return template.render(info=openapi["info"], paths=openapi["paths"], bodies=bodies)


def _body(openapi: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    if "requestBody" not in operation:
        return {}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
