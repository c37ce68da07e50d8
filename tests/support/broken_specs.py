"""Broken spec files, made from valid ones by one mutation each.

Walks the JSON schema beside a complete, valid file, so a new field is attacked without a new test.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from serving.loading import Kind, json_schema

TEMPLATES = Path(__file__).parents[2] / "cli" / "templates"
FILES: dict[Kind, str] = {"HybridService": "service.yaml", "HybridProject": "hcctl.yaml"}
NAN = "@nan@"
RELIEF = {
    "light": {
        "over": 0.5,
        "max_stale_s": 60,
        "fill_share": 0.1,
        "cache_mib": 32,
        "slots": 16,
        "max_queue": 32,
        "variant": {"import_path": "bestsellers:Bestsellers", "config": {"top": 1}, "slots": 8},
    },
    "shed": {"low_over": 1.0, "normal_over": 4.0},
    "leave_share": 0.5,
    "leave_after_s": 5,
}
EVENTS = [
    {"name": "sale", "starts": "2026-11-27T20:00+01:00", "duration_s": 7200, "expected_rps": 180},
    {
        "name": "evening",
        "weekly": {"days": ["fri"], "at": "20:00", "zone": "Europe/Berlin"},
        "duration_s": 3600,
        "rate_factor": 3,
    },
]
"""What `hcctl init` writes as comments: it is off until it is declared."""
KUBERNETES_SITE: dict[str, Any] = {
    "role": "cloud",
    "kind": "kubernetes",
    "kubernetes": {
        "kubeconfig": "kubeconfig.yaml",
        "context": "cloud",
        "namespace": "serving",
        "image": "registry.example.org/shop:1.4.0",
        "pull_secrets": ["registry"],
        "run_as_user": 1000,
        "artefacts": {"claim": "versions", "mount": "/var/lib/hcctl/versions"},
        "address": {"host": "10.0.3.7", "port": 8000},
        "head": {"cpus": 2, "memory_gib": 8, "labels": {"tier": "system"}, "taints": [], "zones": ["a"]},
        "upgrade": "new_cluster",
    },
    "capacity": {
        "kind": "eks",
        "region": "us-east-1",
        "cluster": "hcctl-prod",
        "stack": "hcctl-prod",
        "groups": {"a10g": "a10g-group"},
        "reclaim_queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/reclaims",
    },
    "pools": [
        {
            "name": "a10g",
            "kind": "on_demand",
            "max_nodes": 4,
            "price_usd_per_hour": 1.0,
            "worker": {
                "cpus": 3.5,
                "memory_gib": 12.0,
                "gpu_resource": "nvidia.com/gpu",
                "labels": {"node.kubernetes.io/instance-type": "g5.xlarge"},
                "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
                "zones": ["us-east-1a"],
            },
        }
    ],
}
"""The same: sites of `hcctl init` are local."""

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Broken:
    """A file with one fault, and the field an error must name."""

    mutation: str
    field: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.field}-{self.mutation}"


def valid_text(kind: Kind) -> str:
    """The file that `hcctl init` writes."""
    return Template((TEMPLATES / FILES[kind]).read_text()).substitute(name="shop")


def broken_specs(kind: Kind, *, seed: int) -> list[Broken]:
    """All broken files of a kind; `seed` chooses the wrong values."""
    schema = json_schema(kind)
    data = yaml.safe_load(valid_text(kind))
    if kind == "HybridService":
        data["relief"], data["events"] = RELIEF, EVENTS
        data["routing"]["rules"][0]["relief"] = "shared"
    else:
        data["sites"]["cluster"] = KUBERNETES_SITE
    rng = random.Random(seed)
    return [*_mutations(data, data, schema, schema, (), rng)]


def _mutations(
    whole: Any, here: Any, form: Mapping[str, Any], schema: Mapping[str, Any], path: Path_, rng: random.Random
) -> Iterator[Broken]:
    form, optional = _resolve(form, schema)
    if path:
        for name, wrong in _wrong_values(form, optional, rng):
            yield _broken(name, path, _replaced(whole, path, wrong))
    if isinstance(here, list):
        for index, item in enumerate(here):
            yield from _mutations(whole, item, form["items"], schema, (*path, index), rng)
    if not isinstance(here, dict) or not ("properties" in form or "patternProperties" in form):
        return
    yield from _key_mutations(whole, here, form, path, rng)
    for key, value in here.items():
        inner = form.get("properties", {}).get(key) or next(iter(form["patternProperties"].values()))
        if path or key != "kind":
            yield from _mutations(whole, value, inner, schema, (*path, key), rng)


def _key_mutations(
    whole: Any, here: dict[str, Any], form: Mapping[str, Any], path: Path_, rng: random.Random
) -> Iterator[Broken]:
    """Unknown, missing, twice; and bad names where keys are names."""
    for key in form.get("required", ()):
        shorter = {name: value for name, value in here.items() if name != key}
        yield _broken("missing", (*path, key), _replaced(whole, path, shorter))
    if "patternProperties" in form:
        for bad in ("Upper", "-dash", "dash-", "ünïcode", "a" * 41, "with space", "../up"):
            some = rng.choice(list(here.values()))
            yield _broken("bad-name", (*path, bad), _replaced(whole, path, here | {bad: some}))
        return
    key = rng.choice(list(here))
    place = rng.randrange(len(key) + 1)
    typo = key[:place] + "q" + key[place:]
    yield _broken("unknown", (*path, typo), _replaced(whole, path, here | {typo: here[key]}))
    text = json.dumps(whole)
    mapping = json.dumps(here)
    assert text.count(mapping) >= 1
    twice = text.replace(mapping, mapping[:-1] + f", {json.dumps(key)}: {json.dumps(here[key])}}}", 1)
    yield Broken("twice", ".".join(map(str, (*path, key))), twice)


def _wrong_values(form: Mapping[str, Any], optional: bool, rng: random.Random) -> Iterator[tuple[str, Any]]:
    kind = form.get("type")
    if kind and not optional:
        yield "null", None
    yield from {
        "string": [("number", rng.randint(2, 99)), ("list", ["a"]), ("mapping", {"a": "b"})],
        "integer": [("text", str(rng.randint(1, 9))), ("fraction", rng.random() + 1), ("list", [1]), ("true", True)],
        "number": [("text", "1.5"), ("list", [1.5]), ("nan", NAN), ("true", True)],
        "boolean": [("text", "true"), ("number", 1), ("list", [True])],
        "object": [("list", [1]), ("text", "a"), ("number", rng.randint(0, 9))],
        "array": [("mapping", {"a": 1}), ("text", "a"), ("true", True)],
    }.get(str(kind), [])
    if "pattern" in form:
        yield from (("bad-pattern", " "), ("huge", "x/" * 5000), ("newline", "a\nb"))
    if "enum" in form:
        yield "other-choice", "other"
    if "minimum" in form:
        yield "too-small", form["minimum"] - 1
    if "exclusiveMinimum" in form:
        yield "not-above", form["exclusiveMinimum"]
    if "maximum" in form:
        yield from (("too-large", form["maximum"] + 1), ("huge", 10**29))
    if form.get("minItems") or form.get("minProperties"):
        yield "empty", [] if kind == "array" else {}


def _resolve(form: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The form behind references and options, and whether null is allowed."""
    options = form.get("anyOf", [form])
    chosen = next(option for option in options if option.get("type") != "null")
    if "$ref" in chosen:
        chosen = schema["$defs"][chosen["$ref"].removeprefix("#/$defs/")]
    return chosen, len(options) > 1


def _replaced(whole: Any, path: Path_, value: Any) -> Any:
    if not path:
        return value
    made = copy.deepcopy(whole)
    here = made
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return made


def _broken(mutation: str, path: Path_, data: Any) -> Broken:
    text = json.dumps(data, indent=1, ensure_ascii=False).replace(json.dumps(NAN), ".nan")
    return Broken(mutation, ".".join(map(str, path)), text)
