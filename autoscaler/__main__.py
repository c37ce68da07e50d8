"""`python -m autoscaler`: the daemon in the foreground; the same as `hcctl autoscaler run`.

The one place where an arrow points up: an entry point asks the wiring for the real parts.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the daemon with the arguments of the command line."""
    from cli.main import main as hcctl

    arguments = sys.argv[1:]
    project = []
    if "--project" in arguments:
        index = arguments.index("--project")
        project, arguments = arguments[index : index + 2], arguments[:index] + arguments[index + 2 :]
    sys.argv = ["hcctl", *project, "autoscaler", "run", *arguments]
    hcctl()


if __name__ == "__main__":
    main()
