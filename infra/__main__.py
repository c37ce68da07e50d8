"""What the Pulumi engine runs: `pulumi up` in this folder, or `hcctl infra up`."""

from infra.program import build

build()
