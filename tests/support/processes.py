"""Child processes that crash, run out of disk, or obey file modes like an ordinary user."""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import io
import itertools
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def start(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; returns its process id, for `ended`."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child to its end."""
    return ended(start(work))


def killed_at_each_step(work: Callable[[], object], *, least_steps: int) -> Iterator[int]:
    """Run `work` in children, each killed one durable step later than the last, until one survives.

    Yields after each child, so that the caller can look at what it left.
    """
    for step in itertools.count(1):

        def doomed(step: int = step) -> None:
            with killed_at(step):
                work()

        outcome = in_child(doomed)
        if outcome not in {0, -signal.SIGKILL}:
            raise AssertionError(f"the child failed at step {step}")
        yield step
        if outcome == 0:
            break
    if step <= least_steps:
        raise AssertionError(f"only {step - 1} steps were seen; the work no longer goes through `os`")


@contextlib.contextmanager
def killed_at(call: int) -> Iterator[None]:
    """SIGKILL this process just before its `call`-th step that changes what is durable (from 1)."""
    steps = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return step

    places = [(os, name) for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "fchmod")]
    with contextlib.ExitStack() as stack:
        for module, name in [*places, (io, "open"), (builtins, "open")]:
            stack.enter_context(mock.patch.object(module, name, counted(getattr(module, name))))
        yield


def limit_file_size(size_bytes: int) -> None:
    """Let no file of this process grow beyond `size_bytes`: the stand-in for a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def obey_modes() -> None:
    """Before an exec: take away root's right to ignore file modes. Others have none to lose."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def files_below(folder: Path) -> set[str]:
    """Paths of everything below `folder`, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
