"""A server whose only page is a session's playground stream, as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from eventstore.stores.base import Store
from exporters.playground.stream import Attachment, Published, attach_playground, sse
from exporters.web import Server

IDLE_SECONDS = 5.0
"""An idle stream is silent for this long, then says that it is there."""
SSE = {"content-type": "text/event-stream"}


class PlaygroundServer:
    """Serves in the background until `close`, to several clients at once; ``url`` is where.

    The session is followed once for all of them, so they all get the same in the same order. It knows no users: any
    program that can reach ``host`` can read what is said in the call.
    """

    def __init__(
        self,
        store: Store,
        session_id: str,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        allow_origin: str | None = None,
        allow_hosts: Iterable[str] = (),
    ) -> None:
        """The options as for `exporters.web.Server`. Raises `CannotServe`."""
        self._published: list[Published] = []
        self._news = asyncio.Event()
        """Set, and replaced, whenever there is something new; touched on the server's event loop alone."""
        self._ended = False
        self._attachment: Attachment | None = None
        routes = [Route("/", self._answer)]
        self._server = Server(routes, host, port, allow_origin=allow_origin, allow_hosts=allow_hosts)
        self.url, self.port = self._server.url, self._server.port
        self._attachment = attach_playground(store, session_id, self._publish)

    def close(self) -> None:
        """End all streams."""
        if self._attachment is not None:
            self._attachment.close()
        self._ended = True
        self._server.call(self._wake)
        self._server.close()

    async def _answer(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(headers=SSE)
        return StreamingResponse(self._stream(request.headers.get("last-event-id")), headers=SSE)

    async def _stream(self, after: str | None) -> AsyncIterator[bytes]:
        """All that was published behind the message of that id, or from the beginning, and what comes."""
        at = next((n for n, one in enumerate(self._published, 1) if one.id == after), 0)
        while True:
            news = self._news
            new = self._published[at:]
            at += len(new)
            for one in new:
                yield sse(one)
            if new:
                continue
            if self._ended or (self._attachment is not None and not self._attachment.running):
                return
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield sse(None)

    def _publish(self, one: Published) -> None:
        self._published.append(one)
        self._server.call(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
