"""Write charts/hcctl-crds/crds/ from the models: `python docs/reference/generate_crds.py`."""

from __future__ import annotations

from pathlib import Path

import yaml

from serving.kubernetes_state.schema import custom_resource_definitions

TARGET = Path(__file__).parents[2] / "charts" / "hcctl-crds" / "crds"
HEAD = "# Made from serving/spec*.py by docs/reference/generate_crds.py; do not edit.\n"


def files() -> dict[Path, str]:
    """What is to stand in each file."""
    return {
        TARGET / name: HEAD + yaml.dump(made, Dumper=_Plain, sort_keys=False, width=1_000)
        for name, made in custom_resource_definitions().items()
    }


class _Plain(yaml.SafeDumper):
    """Without anchors: parts that are alike are written out."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's signature
        return True


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
