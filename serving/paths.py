"""Where every file of a project lives. Nothing else builds these paths.

Durable things are below the project folder (`.hcctl/`); sockets, pid files and
Ray's session folders are in a short run-time folder, because UNIX socket paths
end at 107 characters.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serving.errors import HcctlError, InvalidInput
from serving.files import disk_errors

PROJECT_FILE = "hcctl.yaml"
SERVICE_FILE = "service.yaml"

SOCKET_LIMIT = 97
"""Longest path of a UNIX socket in bytes: Linux allows 107, HAProxy adds up to 10 of its own."""
LONGEST_SOCKET = Path("0" * 56) / "admin.sock"
"""The longest one below a site's `ray_dir`: HAProxy's, in a folder named by the node id. Ray's own need less of theirs:
`ray/session_<time>_<pid>/sockets/dash_<module>` has up to 75 bytes, and 107 to end at."""


@dataclass(frozen=True)
class ProjectPaths:
    """Paths of the project in folder `root` (absolute)."""

    root: Path

    @property
    def project_file(self) -> Path:
        return self.root / PROJECT_FILE

    @property
    def state_dir(self) -> Path:
        """Durable state: database, registry, logs. Survives `hcctl down`."""
        return self.root / ".hcctl"

    @property
    def database(self) -> Path:
        return self.state_dir / "state.db"

    @property
    def registry_dir(self) -> Path:
        return self.state_dir / "registry"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def ports_file(self) -> Path:
        """Ports chosen for this project, so that restarts keep them."""
        return self.state_dir / "ports.json"

    @property
    def keys_file(self) -> Path:
        """Hashes of the gateway's API keys."""
        return self.state_dir / "keys.json"

    @property
    def claims_file(self) -> Path:
        """Ports that local sites are about to listen on, of all projects of this user; there while one starts."""
        return Path(tempfile.gettempdir()) / f"hcctl-{os.getuid()}-claims.json"

    @property
    def run_dir(self) -> Path:
        """Sockets and pid files. Removed by `hcctl down`."""
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"hcctl-{os.getuid()}-{digest}"

    @property
    def accepted_project_file(self) -> Path:
        """The project file that `hcctl up` put in force; the daemon reads this one, `hcctl down` closes its sites."""
        return self.run_dir / PROJECT_FILE

    @property
    def gateway_dir(self) -> Path:
        """HAProxy's configuration, maps and sockets."""
        return self.run_dir / "gateway"

    @property
    def relief_services(self) -> Path:
        """What the relief process does; there while some service declares light answers."""
        return self.gateway_dir / "relief.json"

    @property
    def gateway_log_socket(self) -> Path:
        """Stream socket on which the daemon gets the gateway's line per request."""
        return self.run_dir / "requests.sock"

    @property
    def supervisor_record(self) -> Path:
        return self.run_dir / "supervisor.json"

    @property
    def supervisor_plan(self) -> Path:
        """What the supervisor keeps alive."""
        return self.run_dir / "supervisor-plan.json"

    @property
    def daemon_record(self) -> Path:
        return self.run_dir / "daemon.json"

    @property
    def daemon_lock(self) -> Path:
        """Held by the one running daemon."""
        return self.state_dir / "daemon.lock"

    @property
    def sites_dir(self) -> Path:
        """Run-time folders of the local sites."""
        return self.run_dir / "s"

    def site_dir(self, site: str) -> Path:
        """Run-time folder of a local site: process record, token, lock."""
        return self.sites_dir / site

    def ray_dir(self, site: str) -> Path:
        """Folder of a local site for the files of Ray and its HAProxy.

        Short: they put up to 68 characters of session or node id and socket name behind it.
        """
        digest = hashlib.sha256(f"{self.root}\0{site}".encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"hcctl-{digest}"


def longest_socket_bytes(ray_dir: Path) -> int:
    """Bytes in the longest socket path below the folder of a local site."""
    return len(os.fsencode(ray_dir / LONGEST_SOCKET))


def check_socket_paths(ray_dir: Path) -> None:
    """Refuse a folder below which the sockets of a local site have no room.

    Raises:
        InvalidInput: the folder for temporary files has too long a name; says by how much.
    """
    length = longest_socket_bytes(ray_dir)
    if length > SOCKET_LIMIT:
        raise InvalidInput(
            "the folder for temporary files has too long a name for sockets",
            where=f"TMPDIR {ray_dir.parent}",
            why=f"the longest socket path below it would have {length} bytes, and {SOCKET_LIMIT} are the most",
            next_step=f"set TMPDIR to a path that is at least {length - SOCKET_LIMIT} bytes shorter, for example /tmp",
        )


def find_project(start: Path) -> ProjectPaths | None:
    """The project of folder `start` or the nearest one above it; None without one."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / PROJECT_FILE).is_file():
            return ProjectPaths(folder)
    return None


def private_dir(path: Path) -> Path:
    """Create folder `path`, and what is missing above it, for its owner only (0700); refuse somebody else's.

    Raises:
        HcctlError: the folder belongs to another user, is a link, or cannot be made.
    """
    with disk_errors("a folder cannot be made", path):
        if not path.parent.exists():
            private_dir(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or path.lstat().st_uid != os.getuid():
            raise HcctlError("a folder is not this user's own", where=str(path), next_step="remove it, and try again")
        path.chmod(0o700)
    return path
