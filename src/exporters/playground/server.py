"""An HTTP server for one session's playground stream, as Server-Sent Events."""

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
"""Interval of keep-alive comments on an idle stream."""
SSE = {"content-type": "text/event-stream"}


class PlaygroundServer:
    """Serves ``url`` in the background until `close`, to any number of clients.

    The session is followed once for all of them, so they all get the same messages in the same order. There is no
    authentication: any program that can reach ``host`` can read the conversation.
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
        """The options are those of `exporters.web.Server`. Raises `CannotServe`."""
        self._published: list[Published] = []
        self._news = asyncio.Event()
        """Set and replaced with every new message; used only on the server's event loop."""
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
        """Stream the messages after the one with that id, or all, and then new ones."""
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
