"""Who may ask: this machine's own pages. Names of hosts (DNS rebinding), origins (posts of other sites), headers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = ("127.0.0.1", "localhost", "[::1]")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

SAFE = ("GET", "HEAD")


class Guard:
    """Answers itself what others than this machine's own pages ask; adds headers to all answers."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Takes the application, and the names by which it may be asked, without ports."""
        self._app, self._hosts = app, {name.lower() for name in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers, scope["method"])
        if refusal:
            answer = JSONResponse({"detail": refusal}, 403)
            await answer(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, headers: Headers, method: str) -> str:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return f"this server does not answer to {host[:200]!r}; kdjax serve --allow names hosts"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return "a page of another origin may not ask this server"
        site = headers.get("sec-fetch-site", "none")
        if method not in SAFE and site not in ("none", "same-origin"):
            return "a page of another site may not send to this server"
        return ""


def _name(host: str) -> str:
    """Returns a host without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _with_headers(send: Send) -> Callable[[Message], Awaitable[Any]]:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return add
