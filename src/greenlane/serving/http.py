"""The smallest HTTP surface the hot path needs: a plain function from a request to a reply, behind a bare ASGI app.

A handler runs on the one hot thread, without an await inside. What must be durable before it is answered says so by
`Reply.durable_seq`; what is slow (replay, long reads) is a `Slow` handler and runs on another thread.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from greenlane.errors import GreenlaneError, InputError, LimitExceeded

Scope = Mapping[str, Any]  # the ASGI specification's own shape
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON: Final = b"application/json"
BODY_S_MAX: Final = 30
SLOW_MAX: Final = 4
"""Slow requests under way at once; each takes its share of the interpreter from the decisions."""


class Request(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes
    raw_path: bytes = b""
    """As it came, percents and all; empty where the server does not tell."""
    prepared: Any = None
    """What the slow half of its handler gave the quick one."""

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path, each decoded by itself: an id may hold a slash, as %2F.

        >>> Request("GET", "/v1/payments/a/b", "", {}, b"", b"/v1/payments/a%2Fb").segments
        ('', 'v1', 'payments', 'a/b')
        """
        if b"%" not in self.raw_path:
            return tuple(self.path.split("/"))
        return tuple(map(unquote, self.raw_path.decode("latin-1").split("/")))

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


class Reply(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = JSON
    durable_seq: int = 0
    """Answer only after this seq is durable; 0 answers at once."""
    headers: tuple[tuple[bytes, bytes], ...] = ()


def json_reply(body: Any, *, durable_seq: int = 0) -> Reply:
    return Reply(200, msgspec.json.encode(body), durable_seq=durable_seq)


class ErrorBody(Struct, frozen=True):
    """The one error object of the API."""

    type: str
    code: str
    message: str
    request_id: str
    param: str | None = None
    hint: str | None = None


TYPE_OF_STATUS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found",
    405: "invalid_request",
    409: "idempotency_error",
    413: "limit_error",
    422: "invalid_request",
    429: "limit_error",
    503: "unavailable",
}


def error_body(error: GreenlaneError) -> ErrorBody:
    return ErrorBody(
        type=TYPE_OF_STATUS.get(error.status, "invalid_request" if error.status < 500 else "internal_error"),
        code=error.code,
        message=error.message,
        request_id=f"req_{secrets.token_hex(8)}",
        param=error.param,
        hint=error.hint,
    )


def error_reply(error: GreenlaneError) -> Reply:
    """
    >>> error_reply(InputError("no such field", param="$.payment.card")).status
    422
    """
    extra = ((b"retry-after", b"1"),) if error.status in (429, 503) else ()
    return Reply(error.status, msgspec.json.encode(error_body(error)), headers=extra)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body; LimitExceeded as soon as it passes the limit, InputError (408) where it takes too long."""
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit:
        return bytes(body)
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while message.get("more_body", False):
                if size > limit:
                    raise body_too_large(limit)
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
    except TimeoutError as error:
        raise too_slow() from error
    if size > limit:
        raise body_too_large(limit)
    return b"".join(parts)


def too_slow() -> InputError:
    error = InputError(
        f"the body took longer than {BODY_S_MAX} s to arrive", code="body_too_slow", hint="send it at once"
    )
    error.status = 408
    return error


def body_too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"the body is larger than {limit} bytes", code="body_too_large", hint="send fewer outcomes per batch"
    )


def too_many_slow() -> LimitExceeded:
    error = LimitExceeded(
        f"{SLOW_MAX} requests of this kind are under way", code="too_many_slow", hint="wait for one to be answered"
    )
    error.status = 429
    return error


async def send_reply(send: Send, reply: Reply) -> None:
    headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


Handler = Callable[[Request], Reply]
R = TypeVar("R")


class Slow(NamedTuple):
    """A handler that may take long runs on another thread, so that decisions go on.

    With `then`, it only prepares: `then` answers afterwards, on the hot thread, with `request.prepared`.
    """

    handler: Callable[[Request], Any]
    then: Handler | None = None


class Door:
    """An ASGI application over a table of (method, path pattern) -> handler.

    Patterns match by segments; `{name}` matches one segment, which the handler finds in `request.segments`.

    >>> door = Door({("GET", "/healthz"): lambda request: Reply(200, b"{}")}, body_max=1000, durable=None)
    >>> [door.find(Request("GET", path, "", {}, b""))[0] is None for path in ("/healthz", "/nowhere")]
    [False, True]
    """

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Handler | Slow],
        *,
        body_max: int,
        durable: Callable[[int], Awaitable[None]] | None,
        on_start: Callable[[], None] = lambda: None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
        on_error: Callable[[Request, Exception], None] | None = None,
        on_refusal: Callable[[GreenlaneError], None] = lambda _: None,
    ):
        self.exact = {key: handler for key, handler in routes.items() if "{" not in key[1]}
        self.patterned = [(m, p.split("/"), h) for (m, p), h in routes.items() if "{" in p]
        self.body_max, self.durable = body_max, durable
        self.on_start, self.on_stop, self.on_error = on_start, on_stop, on_error or (lambda *_: None)
        self.on_refusal = on_refusal
        self.slow_now = 0

    def find(self, request: Request) -> tuple[Handler | Slow | None, frozenset[str]]:
        """The handler, or None with the methods that this path does take."""
        method, path = request.method, request.path
        exact = self.exact.get((method, path))
        if exact is not None:
            return exact, frozenset()
        segments = request.segments
        allowed = {m for (m, p) in self.exact if p == path}
        for verb, pattern, handler in self.patterned:
            if matches(pattern, segments):
                if verb == method:
                    return handler, frozenset()
                allowed.add(verb)
        return None, frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            await send_reply(send, await self.reply(scope, receive))

    async def reply(self, scope: Scope, receive: Receive) -> Reply:
        request = Request(scope["method"], scope["path"], "", {}, b"")
        try:
            body = await read_body(receive, self.body_max)
            query = scope.get("query_string", b"").decode("latin-1")
            raw_path = scope.get("raw_path", b"")
            request = Request(scope["method"], scope["path"], query, dict(scope["headers"]), body, raw_path)
            handler, allowed = self.find(request)
            if handler is None:
                raise no_such_path(request, allowed)
            if isinstance(handler, Slow):
                reply = await self.slowly(handler, request)
            else:
                reply = self.answer(handler, request)
            if reply.durable_seq and self.durable is not None:
                await self.durable(reply.durable_seq)
            return reply
        except GreenlaneError as error:
            return self.told(request, error)

    async def slowly(self, slow: Slow, request: Request) -> Reply:
        if self.slow_now >= SLOW_MAX:
            raise too_many_slow()
        self.slow_now += 1
        try:
            prepared = await asyncio.get_running_loop().run_in_executor(None, self.answer, slow.handler, request)
        finally:
            self.slow_now -= 1
        if isinstance(prepared, Reply) or slow.then is None:
            return prepared if isinstance(prepared, Reply) else Reply(204, b"")
        return self.answer(slow.then, request._replace(prepared=prepared))

    def answer(self, handler: Callable[[Request], R], request: Request) -> R | Reply:
        try:
            return handler(request)
        except GreenlaneError as error:
            return self.told(request, error)
        except Exception as error:  # noqa: BLE001 - a door: whatever fails inside becomes one counted, logged 500
            self.on_error(request, error)
            return error_reply(
                GreenlaneError("something failed on our side; nothing was decided", code="internal_error")
            )

    def told(self, request: Request, error: GreenlaneError) -> Reply:
        if error.status >= 500:
            self.on_error(request, error)
        else:
            self.on_refusal(error)
        return error_reply(error)

    async def live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.on_start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self.on_stop is not None:
                    await self.on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def matches(pattern: Iterable[str], segments: Sequence[str]) -> bool:
    wanted = list(pattern)
    return len(wanted) == len(segments) and all(
        (w.startswith("{") and bool(s)) or w == s for w, s in zip(wanted, segments, strict=True)
    )


def no_such_path(request: Request, allowed: frozenset[str]) -> InputError:
    if allowed:
        error = InputError(
            f"{request.path} does not take {request.method}",
            code="method_not_allowed",
            hint=f"use {', '.join(sorted(allowed))}",
        )
        error.status = 405
        return error
    missing = InputError(f"there is no {request.path}", code="not_found", hint="see /docs for what there is")
    missing.status = 404
    return missing
