"""The end of the API: streams first, then what is under way, at last by force. It keeps no machine from stopping.

What is cut off is as after a kill: the database and the spool of uploads hold what had been said to have arrived.
"""

import asyncio
import logging
import os
import socket
import threading

import uvicorn
from fastapi import FastAPI

from core.settings import settings

log = logging.getLogger("distillery.api")

#: Of the time there is: for requests to end by themselves, and for those that were cut off to write down what came.
GRACE, AFTERWARDS = 0.6, 0.2


class EndingServer(uvicorn.Server):
    """Lets event streams end before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._bell = app.state.bell

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything. Here and not where it is asked for: the bell is the event loop's alone."""
        self._bell.close()
        await super().shutdown(sockets)
        if cut_off := set(self.server_state.tasks):
            # They write down how far they came.
            await asyncio.wait(cut_off, timeout=settings().shutdown_s * AFTERWARDS)


def end_by_force() -> None:
    """End this process once its time is up, whatever its threads wait for: Python itself would wait for all of them."""
    timer = threading.Timer(settings().shutdown_s, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    busy = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
    log.error("the API did not end within %g s and is cut off; at work were: %s", settings().shutdown_s, busy)
    logging.shutdown()
    os._exit(1)
