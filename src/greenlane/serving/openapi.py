"""OpenAPI 3.1, generated from the types that decode and encode the bodies, and a page to read it on."""

import html
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from greenlane import __version__

Schema = dict[str, Any]  # JSON Schema is open-ended by nature


class Operation(Struct, frozen=True, kw_only=True):
    """One verb of one path, as the document needs it."""

    method: str
    path: str
    summary: str
    scope: str | None
    response: Any
    """The type of the answer's body; a tuple of types where it is one of them."""
    body: Any = None
    """The same of the request's body."""
    description: str = ""
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    errors: tuple[int, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    example: dict[str, Any] | None = None


IDEMPOTENT: Final = {"Idempotency-Key": "the same key and body give the same answer; another body is refused (409)"}


def op(method: str, path: str, summary: str, scope: str | None, response: Any, **more: Any) -> Operation:
    return Operation(method=method, path=path, summary=summary, scope=scope, response=response, **more)


ERROR_TEXT: Final = {
    400: "The request is no JSON, or not this shape",
    401: "No valid API key",
    403: "The key lacks the scope",
    404: "There is no such thing",
    405: "The path does not take this method",
    409: "The same key came before with another body",
    413: "Larger than the stated limit",
    422: "A field is wrong: `param` names its path, `hint` what to do",
    429: "More requests than the stated rate",
    503: "Not ready, or the journal cannot be written",
}


def document(operations: Sequence[Operation], error_type: Any) -> Schema:
    """The whole OpenAPI document as builtins."""
    types = [t for o in operations for body in (o.body, o.response) for t in alternatives(body)] + [error_type]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(id, types), schemas, strict=True))
    paths: Schema = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = described(operation, schema_of, id(error_type))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Greenlane",
            "version": __version__,
            "summary": "Decides every payment.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key, `glk_...`"}},
        },
    }


def alternatives(body: Any) -> tuple[Any, ...]:
    if body is None:
        return ()
    return body if isinstance(body, tuple) else (body,)


def any_of(body: Any, schema_of: dict[int, Schema]) -> Schema:
    found = [schema_of[id(one)] for one in alternatives(body)]
    return found[0] if len(found) == 1 else {"anyOf": found}


def described(operation: Operation, schema_of: dict[int, Schema], error_id: int) -> Schema:
    content = {operation.content_type: {"schema": any_of(operation.response, schema_of)}}
    out: Schema = {
        "summary": operation.summary,
        "operationId": operation.method.lower() + operation.path.translate({ord("/"): "_", ord("{"): "", ord("}"): ""}),
        "parameters": parameters(operation),
        "responses": {str(operation.status): {"description": "done", "content": content}},
    }
    if operation.description:
        out["description"] = operation.description
    if operation.scope is not None:
        out["security"] = [{"key": []}]
        out["description"] = f"{operation.description}\n\nScope: `{operation.scope}`.".strip()
    if operation.body is not None:
        media: Schema = {"schema": any_of(operation.body, schema_of)}
        if operation.example is not None:
            media["example"] = operation.example
        out["requestBody"] = {"required": True, "content": {"application/json": media}}
    implied = (*((401, 403, 429) if operation.scope else ()), *((409,) if operation.headers else ()))
    for status in sorted({*operation.errors, *implied}):
        out["responses"][str(status)] = {
            "description": ERROR_TEXT[status],
            "content": {"application/json": {"schema": schema_of[error_id]}},
        }
    return out


def parameters(operation: Operation) -> list[Schema]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    found = [{"name": n, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for n in names]
    for place, given in (("query", operation.query), ("header", operation.headers)):
        found += [{"name": n, "in": place, "description": d, "schema": {"type": "string"}} for n, d in given.items()]
    return found


def page(openapi: Schema) -> bytes:
    """A plain page of the API: no script, nothing fetched."""
    rows = []
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            text = html.escape(operation.get("description", "")).replace("\n", "<br>")
            rows.append(
                f"<section><h2><code>{verb.upper()} {html.escape(path)}</code></h2>"
                f"<p><b>{html.escape(operation['summary'])}</b></p>"
                f"<p>{text}</p>{body_table(openapi, operation)}</section>"
            )
    style = (
        "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2b22}"
        "code{font:14px ui-monospace,monospace}h2{border-top:1px solid #cfe3d6;padding-top:1rem;font-size:1.1rem}"
        "table{border-collapse:collapse;font-size:14px}"
        "td{border-bottom:1px solid #e5efe8;padding:.2rem .8rem .2rem 0;vertical-align:top}"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Greenlane API</title><style>{style}</style><h1>Greenlane API {__version__}</h1>"
        "<p>Machine-readable: <a href=/openapi.json>/openapi.json</a> (OpenAPI 3.1).</p>"
        f"{''.join(rows)}"
    ).encode()


def body_table(openapi: Schema, operation: Schema) -> str:
    reference = (
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    )
    if not reference:
        return ""
    schema = openapi["components"]["schemas"][reference.rsplit("/", 1)[1]]
    required = set(schema.get("required", ()))
    cells = [
        f"<tr><td><code>{html.escape(name)}</code>{' *' if name in required else ''}<td>{html.escape(kind_of(prop))}"
        f"<td>{html.escape(prop.get('description', ''))}"
        for name, prop in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(cells)}</table><p>* required</p>"


def kind_of(prop: Schema) -> str:
    """
    >>> kind_of({"$ref": "#/components/schemas/Payment"})
    'Payment'
    """
    if "$ref" in prop:
        return str(prop["$ref"].rsplit("/", 1)[1])
    if "anyOf" in prop:
        return " or ".join(kind_of(p) for p in prop["anyOf"])
    if "enum" in prop:
        return " / ".join(str(v) for v in prop["enum"])
    return str(prop.get("type", "any"))
