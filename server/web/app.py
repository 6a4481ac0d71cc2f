"""The application: services, routes, guard and problem details put together."""

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
"""Seconds between two looks for artifacts that nobody needs."""
_CHECKS_PER_COLLECTION = 10
"""Looks at the quota between two of them: jobs that run use it up as well."""


def create_app(services: Services) -> FastAPI:
    """The ASGI application for some services.

    When it starts, jobs that an earlier server left running go back to the queue and the
    executor begins; when it stops, so does the executor.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.artifacts.clean_incoming()
        try:
            queries.birth_time(services.store.engine)  # before it knows a job
        except Dp3dError as error:  # another program holds it; it is asked for again
            log.warning("%s", error)
        services.executor.start()  # gives back what an earlier server left running
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

    # No interactive pages: they would load scripts from the network.  The description of the API
    # is a route of ours.
    app = FastAPI(
        title="dp3d",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    # "/v1/jobs/" is another address than "/v1/jobs": a redirect would name one that the Host
    # header chose.
    app.include_router(router)
    problems.install(app, router.routes)
    app.add_middleware(Guard, settings=services.settings)
    return app


async def _collect_garbage(services: Services) -> None:
    """Remove what nobody needs, at the start and every ten minutes; sooner when it must be."""
    retention = services.retention
    for look in itertools.count():
        remove = retention.collect_if_full if look % _CHECKS_PER_COLLECTION else retention.collect
        try:
            await asyncio.to_thread(remove)
        except Exception:  # the next time will do; nothing depends on it
            log.exception("artifacts that nobody needs could not be removed")
        await asyncio.sleep(COLLECT_EVERY_S / _CHECKS_PER_COLLECTION)
