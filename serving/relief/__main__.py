"""`python -m serving.relief FOLDER`: the relief process for the gateway in that folder."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

from aiohttp import web

from serving.gateway.relief import RELIEF_SOCKET
from serving.logs import log_as_json
from serving.relief.server import ReliefServer

BACKLOG = 1_024


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
        )


if __name__ == "__main__":
    main()
