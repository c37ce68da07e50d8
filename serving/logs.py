"""Logs as JSON lines, and their rotation.

One object per line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and of `FIELDS` what is known. Every log
is the output of one process, appended by the kernel: whoever keeps the processes alive bounds the files, by
copying and truncating, which needs nothing of those who write.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from serving.files import atomic_file, disk_errors, open_plain, sync_dir
from serving.redact import redact

FIELDS = ("service", "site", "deployment", "decision", "key", "request_id")
"""What a line may say apart from its message, given as `extra`. `decision` is its number in `hcctl why`; `key` that
of an action in the journal."""

LONGEST_MESSAGE = 4_000
LONGEST_TRACEBACK = 16_000
"""Its end: there stands what went wrong."""
LONGEST_TEXT = 64_000
"""What is looked through for secrets, so that none is cut before it is recognised."""
MAX_BYTES = 10 << 20
"""A log larger than that is rotated."""
KEPT = 3
"""Former pieces of a log that are kept, `NAME.log.1` the latest."""


class JsonLines(logging.Formatter):
    """A record as one JSON object on one line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()[:LONGEST_TEXT])[:LONGEST_MESSAGE],
        }
        known = {field: getattr(record, field, None) for field in FIELDS}
        line |= {field: value for field, value in known.items() if value not in (None, "")}
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info)[-LONGEST_TEXT:])[-LONGEST_TRACEBACK:]
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json() -> None:
    """Let everything this process logs go to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def pieces(log: Path) -> list[Path]:
    """The pieces of a log that are there, the oldest first, itself last."""
    names = [*(piece(log, number) for number in range(KEPT, 0, -1)), log]
    return [path for path in names if path.is_file()]


def piece(log: Path, number: int) -> Path:
    """The `number`-th former piece of a log, from 1."""
    return log.with_name(f"{log.name}.{number}")


def rotate(log: Path) -> bool:
    """Make a log that is too large its own first piece, and drop the oldest; returns whether it did.

    Its writers go on as they are: they append, so they go on at the new end. A line that is written between
    the end of the copy and the truncation is lost. A crash leaves lines twice rather than not at all.

    Raises:
        HcctlError: the disk is full or failing; the log is as it was. Without room for the copy its pieces are too.
    """
    with disk_errors("the log was not rotated", log):
        file = open_plain(log)
        if file is None:
            return False
        with file:
            if os.fstat(file.fileno()).st_size <= MAX_BYTES:
                return False
            draft = log.with_name(f".{log.name}.rotated")
            with atomic_file(draft) as copy:
                shutil.copyfileobj(file, copy)
            for number in range(KEPT - 1, 0, -1):
                if piece(log, number).exists():
                    piece(log, number).replace(piece(log, number + 1))
            with draft.open("ab") as copy:
                draft.replace(piece(log, 1))
                shutil.copyfileobj(file, copy)  # what was written meanwhile
                copy.flush()  # before the truncation: there may be no room for it
                os.truncate(log, 0)
        sync_dir(log.parent)
    return True
