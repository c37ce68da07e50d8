"""The parsers under fuzz: every place where bytes that hcctl did not just make become values."""

from __future__ import annotations

from functools import partial

from click import BadParameter

from serving.errors import CorruptArtefact, GatewayUnreachable, HcctlError, InvalidInput, SiteUnreachable
from serving.recommender.orders.data import INTERACTIONS, ITEMS
from serving.weights import BrokenWeights
from tests.fuzz import feeds, processes
from tests.fuzz.target import Target

YAML = (
    "&a",
    "*a",
    "!!python/object:os.system",
    "<<: ",
    "? ",
    "- ",
    "|\n",
    ">-\n",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "{",
    "[",
)
NUMBERS = ("-.5", "+.5", "1_0", "0o7", "0x1F", "1:30", "2026-01-01", "yes", "1e3", ".inf", "'", '"')
CSV = ('"', '""', ",", "\n", "\r", "inf", "nan", "-1", "1e5", "user_id", "item_id")
HAPROXY = (
    "SERVE_REPLICA_shop-1-model-",
    "UP",
    "BACKEND",
    "# ",
    "0x1",
    "1\n",
    "\n\n",
    "description: hcctl-",
    "::1%eth0",
)
HTTP = (
    "HTTP/1.1 ",
    "200 OK",
    "100 Continue\r\n\r\n",
    "204 No Content",
    "\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "0\r\n\r\n",
    "-5",
)

TARGETS = (
    Target("service-file", feeds.service_file, (InvalidInput,), (*YAML, *NUMBERS)),
    Target("project-file", feeds.project_file, (InvalidInput,), (*YAML, *NUMBERS)),
    Target("yaml", feeds.plain_yaml, (InvalidInput,), (*YAML, *NUMBERS)),
    Target("manifest", feeds.manifest_file, (CorruptArtefact,)),
    Target("declared-manifest", feeds.declared_manifest, (InvalidInput,)),
    Target("safetensors-header", feeds.safetensors_header, (BrokenWeights,), ("F32", "BF16", "__metadata__", "[]")),
    Target("orders-items", partial(feeds.orders, name=ITEMS), (InvalidInput,), CSV),
    Target("orders-lines", partial(feeds.orders, name=INTERACTIONS), (InvalidInput,), CSV),
    Target("orders-packed", partial(feeds.orders, name=f"{INTERACTIONS}.gz"), (InvalidInput,)),
    Target("trace", feeds.trace, (InvalidInput,), CSV),
    Target("log-line", feeds.log_line, (ValueError,), ("<NOSRV>", "stable", "candidate", "--")),
    Target("log-stream", feeds.log_stream),
    Target("admin-answer", feeds.admin_answer, (GatewayUnreachable,), HAPROXY),
    Target("site-answer", feeds.site_answer, (SiteUnreachable,), HTTP),
    Target("site-applications", feeds.applications, (SiteUnreachable,), ("RUNNING", "DEPLOYING", "UPSCALING")),
    Target("site-statistics", feeds.statistics, (SiteUnreachable,), (*HAPROXY, *CSV)),
    Target("process-record", feeds.process_record),
    Target("supervisor-plan", feeds.supervisor_plan, (HcctlError,)),
    Target("relief-settings", feeds.relief_settings, (InvalidInput,)),
    Target("ports-file", feeds.ports_file),
    Target("notices-file", feeds.notices_file, (HcctlError,), ("NaN", "1e999", "reclaim", "launch_failed")),
    Target("keys-file", feeds.keys_file, (HcctlError,)),
    Target("body", feeds.body, (InvalidInput,)),
    Target("state-database", feeds.state_database, (HcctlError,)),
    Target("stored-intents", processes.stored_intents),
    Target("stored-state", processes.stored_state, (HcctlError,)),
    Target("replica-request", processes.request, prepare=processes.prepare),
    Target("recommender-items", processes.recommender_items, (CorruptArtefact,), prepare=processes.prepare),
    Target("scale-duration", feeds.duration, (BadParameter,), ("s", "m", "h", "d")),
    Target("scale-counts", feeds.counts, (BadParameter,), ("private", "cloud", "=")),
    Target("metric", feeds.metric, (InvalidInput,), ("=", "nan", "inf", "1_0")),
    Target("json-file", feeds.json_file, (InvalidInput,)),
)
