"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from llmops.errors import LlmopsError, NotFoundError, StorageError
from llmops.gateway import admin, chat, errors, health, jobs, knowledge, sources, vectors
from llmops.gateway.access import Access, Doors
from llmops.gateway.instruments import Instruments
from llmops.ingestion.syncs import Sync, SyncBook
from llmops.workspace.opened import Workspace

if TYPE_CHECKING:
    from llmops.jobs.engine import Jobs

_CONSOLE = Path(__file__).parent / "console"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REFRESH_EVERY_S = 0.5
_log = logging.getLogger("llmops.gateway")


def create_app(
    workspace: Workspace, *, token: str, is_local: bool = True, queues: Callable[[], Jobs] | None = None
) -> FastAPI:
    """An application over an open workspace.

    Args:
        token: what the owner's CLI shows to be let into `/api`.
        queues: the job queues, opened when they are first asked for; None for an application without.
        is_local: it will listen on loopback only; elsewhere a key is asked for even when there is none.

    Raises:
        LlmopsError: a route cannot be brought to life.
    """
    app = FastAPI(title="llmops", docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.workspace = workspace
    app.state.instruments = Instruments(workspace.writer)
    app.state.instruments.watch_syncs(partial(_last_syncs, workspace))
    app.state.queues = queues
    # Pushes wait for their turn, and must not take the threads of searches, nor those of revocations.
    app.state.slow_work, app.state.events = CapacityLimiter(8), CapacityLimiter(4)
    workspace.observers.append(app.state.instruments.observe)
    for name in workspace.files.routes:
        try:
            workspace.route(name)
        except (NotFoundError, StorageError) as error:
            _log.warning("route %r cannot answer yet: %s", name, error)  # the others can; /readyz says it too
    # The hot path goes past FastAPI's dependency solving, a fifth of a request; its route there is for the schema.
    app.router.routes.append(Route("/v1/chat/completions", chat.chat_completions, methods=["POST"]))
    for module in (chat, knowledge, health, admin, jobs, vectors, sources):
        app.include_router(module.router)
    _serve_console(app)
    errors.install(app)
    app.add_middleware(Access, doors=Doors(keys=workspace.keys, token=token, is_local=is_local))
    return app


def _last_syncs(workspace: Workspace) -> dict[str, Sync]:
    book = SyncBook(workspace.database)
    found = {name: book.last(name) for name in workspace.files.pipelines}
    return {name: sync for name, sync in found.items() if sync is not None}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    workspace: Workspace = app.state.workspace
    follower = asyncio.create_task(_follow(workspace))
    try:
        yield
    finally:
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
        await workspace.close_models()


async def _follow(workspace: Workspace) -> None:
    """Take up what other processes changed: aliases, keys and groups, within a second."""
    while True:
        await asyncio.sleep(_REFRESH_EVERY_S)
        try:
            await to_thread.run_sync(workspace.refresh)
        except LlmopsError as error:
            _log.warning("going on with what is in memory: %s", error)


def _serve_console(app: FastAPI) -> None:
    files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _CONSOLE.iterdir() if path.is_file()}

    def page(name: str) -> Response:
        if name not in files:
            raise NotFoundError(f"no such page {name!r}")
        content, media_type = files[name]
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return Response(content, media_type=media_type, headers=headers)

    @app.get("/", include_in_schema=False)
    async def index(_: Request) -> Response:
        return page("index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon(_: Request) -> Response:
        return page("icon.svg")

    @app.get("/console/{name}", include_in_schema=False)
    async def console(name: str) -> Response:
        return page(name)
