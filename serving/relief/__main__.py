"""`python -m serving.relief FOLDER`: the relief process for the gateway in that folder."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

from aiohttp import web

from serving.gateway.config import BUFFER_BYTES
from serving.gateway.relief import RELIEF_SOCKET
from serving.logs import log_as_json
from serving.relief.server import ReliefServer

BACKLOG = 1_024
SHUTDOWN_S = 1.0
"""What is at hand after that HAProxy sends on to a site."""
MOST_HEADERS = 256
"""More than HAProxy lets through, with its own."""


def main() -> None:
    """Serve on a socket for this user only, until SIGTERM."""
    log_as_json()
    folder = Path(sys.argv[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = folder / RELIEF_SOCKET
        path.unlink(missing_ok=True)  # of one that was killed
        listener.bind(str(path))
        path.chmod(0o600)
        logging.getLogger(__name__).info("relief process started")
        web.run_app(
            ReliefServer(folder).application(),
            sock=listener,
            backlog=BACKLOG,
            access_log=None,
            print=None,
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_S,
            # What HAProxy lets through is taken here, as it is.
            max_line_size=BUFFER_BYTES,
            max_field_size=BUFFER_BYTES,
            max_headers=MOST_HEADERS,
            auto_decompress=False,
        )


if __name__ == "__main__":
    main()
