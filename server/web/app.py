"""The application: services, routes, guard and problem details put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.web import problems
from server.web.guard import Guard
from server.web.routes import router
from server.web.services import Services


def create_app(services: Services) -> FastAPI:
    """The ASGI application for some services.

    When it starts, jobs that an earlier server left running go back to the queue and the
    executor begins; when it stops, so does the executor.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.artifacts.clean_incoming()
        services.store.recover()
        services.executor.start()
        yield
        services.stopping.set()
        services.executor.stop()
        services.store.close()

    # No interactive pages: they would load scripts from the network.
    app = FastAPI(title="dp3d", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    app.include_router(router)
    problems.install(app)
    app.add_middleware(Guard, settings=services.settings)
    return app
