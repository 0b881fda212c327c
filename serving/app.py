"""Puts the doors into one ASGI application."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import web
from serving.catalogue import Catalogue
from serving.dataplane import DataPlane
from serving.errors import ServingError
from serving.metrics import Metrics
from serving.page import PageDoor
from serving.predict import PredictDoor
from serving.settings import Settings
from serving.v2 import V2Door

DOORS = ("/v2", "/predict", "/page", "/metrics")


def create_app(settings: Settings, catalogue: Catalogue, metrics: Metrics) -> Starlette:
    """Return the application; while it runs, the catalogue follows the repository."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(catalogue.follow(settings.poll_seconds))
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    async def expose_metrics(_: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": metrics.content_type})

    plane = DataPlane(catalogue, metrics)
    app = Starlette(
        routes=[
            *V2Door(plane, settings).routes(),
            *PredictDoor(plane, settings).routes(),
            *PageDoor().routes(),
            Route("/metrics", expose_metrics),
        ],
        middleware=[Middleware(RequestMetrics, metrics=metrics)],
        exception_handlers={
            ServingError: web.answer_serving_error,
            HTTPException: web.answer_http_error,
            Exception: web.answer_unexpected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class RequestMetrics:
    """Counts and times every request. Outside of the doors all paths count as one, so that no client makes labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.request(_door(scope["path"]), status, time.perf_counter() - start)


def _door(path: str) -> str:
    if path == "/":
        return "/page"
    return next((door for door in DOORS if path == door or path.startswith(door + "/")), "other")
