"""An authority and certificates of it, each in a folder as Kubernetes mounts a Secret."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]


class Authority:
    """Signs certificates for names."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        _openssl(
            "req", "-x509", *CURVE, "-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-subj", "/CN=authority"
        )

    def certificate(self, name: str) -> Path:
        """A folder with tls.crt and tls.key for a DNS name, and ca.crt."""
        made = self.folder / name
        made.mkdir()
        request, names = made / "request", made / "names"
        names.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl("req", "-new", *CURVE[:-2], "-keyout", made / "tls.key", "-out", request, "-subj", f"/CN={name}")
        signing = ["-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", "1"]
        _openssl("x509", "-req", "-in", request, "-out", made / "tls.crt", "-extfile", names, *signing)
        shutil.copy(self.folder / "ca.crt", made / "ca.crt")
        return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
