"""Builds the ASGI application: routes, guard, problem details, background tasks."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from dp3d_core.errors import Dp3dError
from server.jobs import queries
from server.web import problems
from server.web.guard import Guard
from server.web.routes import router
from server.web.services import Services

log = logging.getLogger(__name__)

COLLECT_EVERY_S = 600.0
"""Seconds between two garbage collections."""
_CHECKS_PER_COLLECTION = 10
"""Checks of the quota per garbage collection; running jobs use up the quota meanwhile."""


def create_app(services: Services) -> FastAPI:
    """Build the ASGI application.

    Its start also starts the executor, which requeues jobs that an earlier server left running;
    its end stops the executor.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.artifacts.clean_incoming()
        try:
            queries.birth_time(services.store.engine)  # before the first job
        except Dp3dError as error:  # locked by another program; collections ask again
            log.warning("%s", error)
        services.executor.start()  # requeues jobs of an earlier server
        tasks = [
            asyncio.create_task(services.events.run()),
            asyncio.create_task(_collect_garbage(services)),
        ]
        yield
        services.stopping.set()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        services.events.close()
        services.reader.shutdown(wait=False)
        services.files.shutdown(wait=False)
        services.executor.stop()
        services.store.close()

    # No interactive pages: they would load scripts from the network.  The OpenAPI document is a
    # route of this application.
    app = FastAPI(
        title="dp3d",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    # No redirect from "/v1/jobs/" to "/v1/jobs": it would name a host that the client chose with
    # its Host header.
    app.include_router(router)
    problems.install(app, router.routes)
    app.add_middleware(Guard, settings=services.settings)
    return app


async def _collect_garbage(services: Services) -> None:
    """Collect garbage at the start and every 10 min; every minute while the quota is used up."""
    retention = services.retention
    for round_ in itertools.count():
        remove = retention.collect_if_full if round_ % _CHECKS_PER_COLLECTION else retention.collect
        try:
            await asyncio.to_thread(remove)
        except Exception:  # the next round tries again
            log.exception("unused artifacts could not be removed")
        await asyncio.sleep(COLLECT_EVERY_S / _CHECKS_PER_COLLECTION)
