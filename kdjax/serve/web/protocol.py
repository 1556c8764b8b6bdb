"""HTTP as uvicorn speaks it, with an end to clients that never finish saying what they want."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""A request's first line and headers may be on their way."""


class Impatient(H11Protocol):
    """A connection that is closed when a request's head is not there in time; bodies have limits of their own."""

    _since: float | None = None
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(HEAD_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Takes what came; the head of a further request counts from its first byte."""
        before = self.cycle
        if self._since is None and (before is None or before.response_complete):
            self._since = self.loop.time()
        super().data_received(data)
        if self.cycle is not before:
            self._since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        waited = 0.0 if self._since is None else self.loop.time() - self._since
        if waited >= HEAD_SECONDS:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(HEAD_SECONDS - waited, self._look)
