"""What the gateway refuses before it looks at anything else: doubtful framing, and paths that could mean two things."""

from __future__ import annotations

from serving.gateway.answers import answer

_CLOSE = "Connection close"

FRAMING = f"""\
  # Where one request ends and the next begins must be beyond doubt; after a doubt the connection is closed.
  http-request return {answer(400, "bad_version", "Send the request as HTTP/1.1 or HTTP/1.0.", _CLOSE)} \
unless {{ req.ver -m str 1.0 1.1 }}
  # The length of chunks could not be held to the limit, and a second framing invites smuggling.
  http-request return {answer(411, "length_required", "Send the body with a Content-Length.", _CLOSE)} \
if {{ req.hdr_cnt(transfer-encoding) gt 0 }}
  # HAProxy 2.8 takes 2^64 for 0, and sends it on as it stands. No limit has more than ten digits.
  http-request return {answer(413, "body_too_large", "The body is larger than any service takes.", _CLOSE)} \
if {{ req.hdr(content-length) -m len 11: }}
"""

PATH = f"""\
  # No path leads out of a service, whoever reads it: a path that cannot be unescaped has no meaning to check.
  http-request return {answer(400, "bad_path", "The path is none, or has broken escapes.")} \
unless {{ path,url_dec -m found }}
  http-request return {answer(400, "bad_path", "The path has dot segments.")} \
if {{ path,url_dec -m reg '(^|[/\\\\])[.][.]?([/\\\\]|$)' }}
  http-request return {answer(400, "bad_path", "The path has a NUL.")} if {{ path -m sub %00 }}
  # A target in absolute form has done its work; sites read paths.
  http-request set-uri %[pathq]
"""
