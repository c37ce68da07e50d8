"""`python -m autoscaler`: the daemon in the foreground; the same as `hcctl autoscaler run`.

The one place where an arrow points up: an entry point asks the wiring for the real parts.
"""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Run the daemon with the arguments of the command line."""
    from cli.main import main as hcctl

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    arguments = sys.argv[1:]
    project = []
    if "--project" in arguments:
        index = arguments.index("--project")
        project, arguments = arguments[index : index + 2], arguments[:index] + arguments[index + 2 :]
    sys.argv = ["hcctl", *project, "autoscaler", "run", *arguments]
    hcctl()


if __name__ == "__main__":
    main()
