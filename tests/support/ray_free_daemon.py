"""The daemon as it is, but for its sites: `python -m tests.support.ray_free_daemon PORT --project FOLDER`.

Every site is one in memory that is quick to open and load, and whose ingress is the HTTP server at PORT.
"""

from __future__ import annotations

import sys
import time

from autoscaler.__main__ import main as daemon
from cli import wiring
from cli.context import Project
from serving.sites.site import Site
from tests.support.fake_site import FakeSite


def main() -> None:
    """Run it until SIGTERM."""
    port = int(sys.argv.pop(1))

    def sites(project: Project, **_: object) -> dict[str, Site]:
        return {
            name: FakeSite(name, time.time, open_s=0.1, load_s=0.1, drain_s=0.1, port=port)
            for name in project.spec.site_order
        }

    wiring.sites = sites
    daemon()


if __name__ == "__main__":
    main()
