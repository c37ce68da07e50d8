"""Values under which the chart must render, one set per question that an installation asks."""

from __future__ import annotations

from typing import Any

from tests.support.charts import PROJECT

BASE: dict[str, Any] = {"project": PROJECT}
MONITORED: dict[str, Any] = {"monitoring": {"enabled": True}}
NO_VOLUME: dict[str, Any] = {"daemon": {"persistence": {"enabled": False}}}

VALUE_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "monitored": MONITORED,
    "alerts alone": {"monitoring": {"enabled": True, "dashboards": {"enabled": False}}},
    "dashboards alone": {"monitoring": {"enabled": True, "alerts": {"enabled": False}}},
    "other thresholds": {
        "monitoring": {
            "enabled": True,
            "interval": "30s",
            "namespace": "observability",
            "labels": {"release": "prometheus"},
            "alerts": {"budgetRatio": 0.5, "stuckReleaseSeconds": 600, "staleSeconds": 30, "capacitySeconds": 120},
        }
    },
    "cloud": {"site": {"role": "cloud"}},
    "cloud with a daemon elsewhere": {
        "site": {"role": "cloud"},
        "rbac": {"subjects": [{"kind": "Group", "name": "hcctl:daemon", "apiGroup": "rbac.authorization.k8s.io"}]},
        **MONITORED,
    },
    "sites in other namespaces": {"rbac": {"siteNamespaces": ["shop", "ads", "serving"]}},
    "no volume": NO_VOLUME,
    "three daemons": {"daemon": {"replicas": 3, "persistence": {"enabled": False}}},
    "existing claim": {"daemon": {"persistence": {"existingClaim": "state"}}},
    "storage class": {"daemon": {"persistence": {"storageClass": "fast", "size": "50Gi"}}},
    "kubeconfigs": {"daemon": {"kubeconfigsSecret": "sites"}},
    "pod identity": {"daemon": {"serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}}},
    "daemon arguments": {"daemon": {"args": ["--shadow"], "metricsPort": 9999}},
    "placement": {
        "daemon": {
            "nodeSelector": {"hcctl.dev/pool": "system"},
            "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "gateway": {"nodeSelector": {"kubernetes.io/arch": "amd64"}},
    },
    "resources": {
        "daemon": {"resources": {"requests": {"cpu": 1, "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}},
    },
    "one gateway": {"gateway": {"replicas": 1}},
    "ten gateways": {"gateway": {"replicas": 10, "drainSeconds": 300}},
    "no gateway": {"gateway": {"enabled": False}, **MONITORED},
    "no daemon": {"daemon": {"enabled": False}},
    "nothing": {"daemon": {"enabled": False}, "gateway": {"enabled": False}},
    "load balancer": {
        "gateway": {
            "service": {
                "type": "LoadBalancer",
                "annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"},
                "sourceRanges": ["10.0.0.0/8"],
            }
        }
    },
    "node port": {"gateway": {"service": {"type": "NodePort"}, "port": 10443, "controlPort": 10444}},
    "tls to sites": {"gateway": {"sitesSecret": "sites-tls"}},
    "clients by namespace": {
        "networkPolicy": {
            "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}],
            "apiServers": ["10.100.0.1/32"],
            "sites": ["172.20.0.0/16", "fd00::/64"],
            "sitePorts": [443, 8000],
        }
    },
    "no policies": {"networkPolicy": {"enabled": False}},
    "image by digest": {"image": {"repository": "registry.example.org:5000/hcctl", "digest": "sha256:" + "a" * 64}},
    "image by tag": {"image": {"repository": "example.org/hcctl", "tag": "1.4.0", "pullPolicy": "Always"}},
    "pull secrets": {"image": {"pullSecrets": ["registry", "mirror"]}},
    "no helm test": {"tests": {"enabled": False}},
    "everything": {
        **MONITORED,
        **NO_VOLUME,
        "rbac": {"siteNamespaces": ["shop"]},
        "gateway": {"replicas": 3, "sitesSecret": "sites-tls", "service": {"type": "LoadBalancer"}},
    },
}

REFUSED: dict[str, dict[str, Any]] = {
    "an unknown field": {"deamon": {}},
    "an unknown field below": {"gateway": {"replica": 2}},
    "two daemons on one volume": {"daemon": {"replicas": 2}},
    "an image that changes under its name": {"image": {"tag": "latest"}},
    "a digest that is none": {"image": {"digest": "sha256:abc"}},
    "no gateway at all by number": {"gateway": {"replicas": 0}},
    "a privileged port": {"gateway": {"port": 443}},
    "a process without a limit of memory": {"daemon": {"resources": {"limits": None}}},
    "a role for everybody": {"rbac": {"subjects": [{"kind": "Group", "name": "system:authenticated"}]}},
    "a range that is none": {"networkPolicy": {"apiServers": ["everywhere"]}},
    "a site that is neither": {"site": {"role": "edge"}},
    "a budget share above one": {"monitoring": {"alerts": {"budgetRatio": 80}}},
}
