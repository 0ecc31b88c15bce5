"""The process of the interface: wires settings and services, and serves them until a signal says stop."""

import sys

import uvicorn

from api.app import create_app
from api.auth import check_listening
from api.connections import bounded_protocol
from api.services import Services
from core.errors import ServiceError
from core.logging import get_logger
from core.settings import (
    APISettings,
    BrokerSettings,
    DatabaseSettings,
    MirrorSettings,
    ProfileSettings,
    StorageSettings,
    TempSettings,
    TracingSettings,
    WorkerSettings,
    load,
)
from core.temp_files import use_temp_folder
from core.tracing import configure_tracing
from core.waiting import awaited

_LAST_REQUESTS_SECONDS = 5
"""For requests that are being answered when the stop comes; event streams end by themselves within it."""

_SWITCH_SECONDS = 0.001
"""How long a thread at work keeps the event loop waiting for the interpreter; 5 ms for each of many threads add up."""


def serve() -> int:
    """Serve; returns 2 when the settings do not allow it."""
    try:
        configure_tracing(load(TracingSettings), "api")
        settings = load(APISettings)
        check_listening(settings)
        use_temp_folder(load(TempSettings))
        with awaited("its storage and the application"):
            services = Services.open(
                settings,
                load(DatabaseSettings),
                load(BrokerSettings),
                load(StorageSettings),
                load(WorkerSettings),
                load(ProfileSettings).profile,
                is_stopping=lambda: server.should_exit,
                mirror=load(MirrorSettings),
            )
            app = create_app(services)
    except (ServiceError, ValueError) as error:
        get_logger(__name__).error("not_started", error=str(error))
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            http=bounded_protocol(settings.max_connections),
            ws="none",
            timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
        )
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    server.run()
    return 0 if server.started else 1
