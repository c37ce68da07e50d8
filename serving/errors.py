"""The one exception family that reaches a user.

Every error says four things: what failed, on which object, why, and what to do
next. `cli.output` prints them; nothing else formats errors. Exit codes are the
ones documented in docs/cli.md.
"""

from __future__ import annotations


class HcctlError(Exception):
    """A failure a user can act on.

    Args:
        what: what failed, in one clause.
        where: the object it failed on (a field, a file, a site); may be empty.
        why: the cause, bounded in length by the caller.
        next_step: the command or edit that mends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.why = why
        self.next_step = next_step
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """The error as one line: `what: where: why (next_step)`."""
        text = ": ".join(part for part in (self.what, self.where, self.why) if part)
        return f"{text} ({self.next_step})" if self.next_step else text


class InvalidInput(HcctlError):
    """The user's input is wrong; `where` names the field, `next_step` the fix."""

    exit_code = 2


class WaitTimeout(HcctlError):
    """A wait ran out of time; the work itself goes on in the daemon."""

    exit_code = 3


class RolledBack(HcctlError):
    """A release ended without being promoted; the former version serves."""

    exit_code = 4


class RefusedByBudget(HcctlError):
    """A spend cap forbids what was asked."""

    exit_code = 5


class RevisionConflict(HcctlError):
    """Somebody else wrote the intent first; read it again and retry."""


class CorruptArtefact(HcctlError):
    """A file of a version does not match its manifest; `where` is the file."""


class SiteUnreachable(HcctlError):
    """A site did not answer; what it runs is unknown, not nothing."""


class GatewayUnreachable(HcctlError):
    """The gateway's admin socket did not answer."""


class NotLeading(HcctlError):
    """Another daemon leads, or may: this one must not act."""


class UnsupportedState(HcctlError):
    """The state on disk was written by a newer hcctl."""
