"""How requests reach the gateways of a project, how many there are, and who scrapes them."""

from __future__ import annotations

from typing import Any

from trimtab.targets.docker.dockerfiles import GRPC_PORT, PORT
from trimtab.targets.kubernetes.chart_values import Resource, Value
from trimtab.targets.kubernetes.deployment_facts import FLAG, LIST, NUMBER, OPTIONAL, TEXT, Cluster

WAITING = "trimtab_rows_waiting"
"""Metric of the gateway by which it scales: rows that wait in a pod."""


def traffic(cluster: Cluster) -> list[Resource]:
    """Return Service, limits of disruption, network policy and what the policy asks for beyond."""
    found = [
        Resource("service", _service(cluster)),
        Resource("disruption-budget", _budget(cluster)),
        Resource("network-policy", _policy(cluster), Value("networkPolicy.enabled", True, NETWORK, FLAG)),
        Resource(
            "service-monitor",
            _monitor(cluster),
            Value("serviceMonitor.enabled", cluster.asked.service_monitor, MONITOR, FLAG),
        ),
    ]
    if cluster.apart:
        found.append(Resource("autoscaler", _autoscaler(cluster)))
    if cluster.policy.serving.authentication == "none":
        return found  # nothing in the chart lets callers outside of the cluster reach a gateway without tokens
    outside = cluster.asked.ingress is not None
    by_route = outside and cluster.asked.ingress is not None and cluster.asked.ingress.gateway is not None
    ingress = Value("ingress.enabled", outside and not by_route, f"Write an Ingress. {FROM}", FLAG)
    route = Value("route.enabled", by_route, f"Write an HTTPRoute of the Gateway API. {FROM}", FLAG)
    return [*found, Resource("ingress", _ingress(cluster), ingress), Resource("route", _route(cluster), route)]


NETWORK = "Let only the pods that `networkPolicy.from` names call the gateway."
FROM = "`networkPolicy.from` must then name the namespace that the requests come from, too."
MONITOR = f"Write a ServiceMonitor for the Prometheus Operator. {FROM}"


def _ports(cluster: Cluster) -> dict[str, int]:
    return {"http": PORT} | ({} if cluster.policy.serving.grpc_port is None else {"grpc": GRPC_PORT})


def _service(cluster: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": {
            "type": "ClusterIP",
            "selector": cluster.labels("gateway"),
            "ports": [
                {
                    "name": name,
                    "port": port,
                    "targetPort": name,
                    "appProtocol": "kubernetes.io/h2c" if name == "grpc" else "http",
                }
                for name, port in _ports(cluster).items()
            ],
        },
    }


def _budget(cluster: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": cluster.labels("gateway")},
        },
    }


def _policy(cluster: Cluster) -> dict[str, Any]:
    named = ({"kubernetes.io/metadata.name": name} for name in cluster.asked.callers)
    callers = [{"podSelector": {}}, *({"namespaceSelector": {"matchLabels": labels}} for labels in named)]
    about = "Pods that may call the gateway, as `from` of a NetworkPolicy; by default those of its namespace."
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": cluster.metadata(),
        "spec": {
            "podSelector": {"matchLabels": cluster.labels()},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": Value("networkPolicy.from", callers, about, LIST),
                    "ports": [{"port": port, "protocol": "TCP"} for port in _ports(cluster).values()],
                }
            ],
        },
    }


def _monitor(cluster: Cluster) -> dict[str, Any]:
    endpoint: dict[str, Any] = {
        "port": "http",
        "path": "/metrics",
        "interval": Value("serviceMonitor.interval", "30s", "Time between two scrapes.", TEXT),
    }
    if cluster.policy.serving.tls is not None:
        endpoint |= {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}
    if cluster.policy.serving.authentication == "tokens":
        about = "Secret whose key `token` holds a token for `read`, with which Prometheus scrapes."
        named = Value("serviceMonitor.tokenSecretName", f"{cluster.facts.slug}-metrics", about, TEXT)
        endpoint |= {"authorization": {"type": "Bearer", "credentials": {"name": named, "key": "token"}}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": {"selector": {"matchLabels": cluster.labels("gateway")}, "endpoints": [endpoint]},
    }


def _autoscaler(cluster: Cluster) -> dict[str, Any]:
    replicas = cluster.asked.replicas
    rows = max(1, cluster.policy.serving.max_waiting_rows // 4)
    about = f"Rows that wait in a pod on average ({WAITING}) beyond which pods are added; needs an adapter of metrics."
    waiting = Value("autoscaling.waitingRows", str(rows), about, TEXT)
    cores = Value("autoscaling.cpu", 70, "Percent of the cores asked for beyond which pods are added.", NUMBER)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": cluster.name("gateway")},
            "minReplicas": Value("autoscaling.min", replicas.min, "Pods of the gateway, at least.", NUMBER),
            "maxReplicas": Value("autoscaling.max", replicas.max, "Pods of the gateway, at most.", NUMBER),
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": cores}},
                },
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": WAITING}, "target": {"type": "AverageValue", "averageValue": waiting}},
                },
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def _host(cluster: Cluster) -> str:
    return cluster.asked.ingress.host if cluster.asked.ingress is not None else f"{cluster.facts.slug}.example.com"


def _ingress(cluster: Cluster) -> dict[str, Any]:
    asked = cluster.asked.ingress
    host = Value("ingress.host", _host(cluster), "Name under which the gateway is reached.", TEXT)
    backend = {"service": {"name": cluster.name("gateway"), "port": {"name": "http"}}}
    spec: dict[str, Any] = {
        "ingressClassName": Value(
            "ingress.className",
            asked and asked.ingress_class,
            "Class of the Ingress; null, the cluster's default.",
            OPTIONAL,
        ),
        "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
    }
    if asked is not None and asked.tls_secret is not None:
        secret = Value("ingress.tlsSecretName", asked.tls_secret, "Secret with its certificate.", TEXT)
        spec["tls"] = [{"hosts": [host], "secretName": secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": spec,
    }


def _route(cluster: Cluster) -> dict[str, Any]:
    asked = cluster.asked.ingress
    named = (asked.gateway if asked is not None else None) or "gateway"
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": cluster.metadata("gateway", "gateway"),
        "spec": {
            "parentRefs": [
                {"name": Value("route.gateway", named, "Gateway of the Gateway API that takes the route.", TEXT)}
            ],
            "hostnames": [Value("route.host", _host(cluster), "Name under which the gateway is reached.", TEXT)],
            "rules": [{"backendRefs": [{"name": cluster.name("gateway"), "port": PORT}]}],
        },
    }
