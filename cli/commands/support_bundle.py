"""`hcctl support-bundle`: one file with what somebody who helps needs to see, without secrets."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.context import project_paths


@click.command(name="support-bundle")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def command(file: Path | None) -> None:
    """Write versions, doctor's findings, declared files, state, decisions and the ends of all logs to FILE.

    Secrets and the home folder's path are taken out. Look through it before you hand it on.
    Also works when the project is broken: parts that cannot be read are named.
    """
    import time

    from cli.support import write_bundle
    from serving.errors import InvalidInput

    paths = project_paths()
    target = (file or Path(time.strftime("hcctl-support-%Y%m%dT%H%M%S.tar.gz"))).absolute()
    if target.exists() or target.is_symlink():
        raise InvalidInput("the file exists already", where=str(target), next_step="name another file, or remove it")
    failed = write_bundle(paths, target)
    output.success(f"{target}: {target.stat().st_size:,} bytes, readable by you only")
    for name in failed:
        output.warning(f"{name} could not be read; the reason is in the bundle")
