"""Finds in rendered manifests what schemas pass and an API server, or the first pod, does not.

usage: manifests.py [--secrets NAME,...] [--namespace NAME] [--restricted] FILE...

Each file is a whole: names are looked up in it. --secrets names what others make. --namespace is that of objects without one.
--restricted holds every pod to Pod Security's profile `restricted`; without it, the pods of namespaces whose label in the file says so.
"""

import re
import sys
from pathlib import Path

import yaml

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "StorageClass"}
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
LABEL = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")


def amount(quantity):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()
    return float(number) * UNITS[unit]


def matches(selector, labels):
    """Whether labels satisfy a selector with matchLabels and matchExpressions."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        here, values = labels.get(term["key"]), term.get("values", [])
        holds = {
            "In": here in values,
            "NotIn": here not in values,
            "Exists": here is not None,
            "DoesNotExist": here is None,
        }
        if not holds[term["operator"]]:
            return False
    return True


class Whole:
    """All objects of one file, by kind, namespace and name."""

    def __init__(self, file, made_by_others, restricted, namespace=""):
        self.problems, self.objects = [], {}
        self.made_by_others, self.restricted = made_by_others, restricted
        for document in yaml.safe_load_all(Path(file).read_text()):
            if document:
                if namespace and document["kind"] not in CLUSTER_WIDE:
                    document["metadata"].setdefault("namespace", namespace)
                name = (document["kind"], self.namespace(document), document["metadata"]["name"])
                if name in self.objects:
                    self.say(document, "is there twice")
                self.objects[name] = document

    @staticmethod
    def namespace(document):
        return document["metadata"].get("namespace", "")

    def say(self, document, text):
        self.problems.append(f"{document['kind']} {self.namespace(document)}/{document['metadata']['name']}: {text}")

    def of(self, *kinds, namespace=None):
        return [d for (kind, ns, _), d in self.objects.items() if kind in kinds and namespace in (None, ns)]

    def has(self, kind, namespace, name):
        return (kind, namespace, name) in self.objects or name in self.made_by_others

    def pod(self, document):
        """A workload's pod: (labels, spec)."""
        spec = document["spec"]
        if document["kind"] == "Pod":
            return document["metadata"].get("labels", {}), spec
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        template = spec["template"]
        return template["metadata"].get("labels", {}), template["spec"]

    def pods(self, namespace):
        return [(d, *self.pod(d)) for d in self.of(*WORKLOADS, namespace=namespace)]

    def check(self):
        for document in self.objects.values():
            self.check_labels(document)
        for document in self.of(*WORKLOADS):
            self.check_pod(document)
        self.check_selectors()
        self.check_scaling()
        self.check_roles()
        return self.problems

    def check_labels(self, document):
        labels = dict(document["metadata"].get("labels") or {})
        if document["kind"] in WORKLOADS:
            labels |= self.pod(document)[0]
        for key, value in labels.items():
            if not isinstance(value, str) or not LABEL.match(value):
                self.say(document, f"label {key} can't be {value!r}")

    def check_pod(self, document):
        labels, spec = self.pod(document)
        namespace = self.namespace(document)
        selector = document["spec"].get("selector")
        if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet") and not matches(selector, labels):
            self.say(document, "its selector does not match its pods")
        if document["kind"] == "StatefulSet" and not self.has("Service", namespace, document["spec"]["serviceName"]):
            self.say(document, f"there is no Service {document['spec']['serviceName']}")
        account = spec.get("serviceAccountName", "default")
        if account != "default" and not self.has("ServiceAccount", namespace, account):
            self.say(document, f"there is no ServiceAccount {account}")
        claims = document["spec"].get("volumeClaimTemplates", []) if document["kind"] == "StatefulSet" else []
        volumes = {claim["metadata"]["name"]: {} for claim in claims}
        for volume in spec.get("volumes", []):
            if volume["name"] in volumes:
                self.say(document, f"volume {volume['name']} is there twice")
            volumes[volume["name"]] = volume
            self.check_volume(document, volume)
        containers = spec.get("initContainers", []) + spec["containers"]
        if len({container["name"] for container in containers}) != len(containers):
            self.say(document, "two containers have one name")
        used = set()
        for container in containers:
            used |= self.check_container(document, container, volumes)
        for name in volumes.keys() - used:
            self.say(document, f"nothing mounts the volume {name}")
        enforced = self.objects.get(("Namespace", "", namespace), {"metadata": {}})["metadata"].get("labels", {})
        if self.restricted or enforced.get("pod-security.kubernetes.io/enforce") == "restricted":
            self.check_restricted(document, spec, containers)

    def check_volume(self, document, volume):
        namespace = self.namespace(document)
        for kind, key, field in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
            ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
        ):
            source = volume.get(key)
            if source and not source.get("optional") and not self.has(kind, namespace, source[field]):
                self.say(document, f"volume {volume['name']}: there is no {kind} {source[field]}")

    def check_container(self, document, container, volumes):
        where = f"container {container['name']}"
        mounts = container.get("volumeMounts", [])
        for mount in mounts:
            volume = volumes.get(mount["name"])
            if volume is None:
                self.say(document, f"{where} mounts the volume {mount['name']}, which is not there")
                continue
            config = self.objects.get(("ConfigMap", self.namespace(document), volume.get("configMap", {}).get("name")))
            if config and mount.get("subPath") and mount["subPath"] not in config.get("data", {}):
                self.say(document, f"{where}: {mount['subPath']} is not in the ConfigMap {config['metadata']['name']}")
        paths = [mount["mountPath"] for mount in mounts]
        if len(set(paths)) != len(paths):
            self.say(document, f"{where} mounts two volumes in one place")
        names = [entry["name"] for entry in container.get("env", [])]
        for name in {name for name in names if names.count(name) > 1}:
            self.say(document, f"{where}: {name} is set twice")
        for entry in container.get("env", []):
            value = entry.get("value", "")
            if not isinstance(value, str):
                self.say(document, f"{where}: the value of {entry['name']} is no text")
            for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                source = entry.get("valueFrom", {}).get(key)
                if (
                    source
                    and not source.get("optional")
                    and not self.has(kind, self.namespace(document), source["name"])
                ):
                    self.say(document, f"{where}: there is no {kind} {source['name']}")
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        for number in ports.values():
            self.check_port(document, where, number)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            action = container.get(probe, {})
            port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
            if isinstance(port, str) and port not in ports:
                self.say(document, f"{where}: its {probe} asks the port {port}, which is not there")
            elif isinstance(port, int):
                self.check_port(document, where, port)
        resources = container.get("resources", {})
        if "memory" not in resources.get("limits", {}) or not {"cpu", "memory"} <= resources.get("requests", {}).keys():
            self.say(document, f"{where} needs requests and a limit of memory")
        for name, limit in resources.get("limits", {}).items():
            if amount(resources.get("requests", {}).get(name, 0)) > amount(limit):
                self.say(document, f"{where} asks for more {name} than its limit")
        image = container["image"]
        if "@sha256:" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
            self.say(document, f"{where}: the image {image} has no fixed tag")
        return {mount["name"] for mount in mounts}

    def check_port(self, document, where, port):
        if not isinstance(port, int) or not 1 <= port <= 65535:
            self.say(document, f"{where}: {port!r} is no port")

    def check_restricted(self, document, spec, containers):
        pod = spec.get("securityContext", {})
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                self.say(document, f"restricted: {key}")
        allowed = {
            "name",
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        for volume in spec.get("volumes", []):
            for kind in volume.keys() - allowed:
                self.say(document, f"restricted: the volume {volume['name']} is a {kind}")
        for container in containers:
            own = container.get("securityContext", {})
            both = pod | own
            capabilities = own.get("capabilities", {})
            for holds, text in (
                (both.get("runAsNonRoot") is True, "runAsNonRoot"),
                (both.get("runAsUser") != 0, "a user other than root"),
                (both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"), "a seccompProfile"),
                (own.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation: false"),
                ("ALL" in capabilities.get("drop", []), "capabilities dropped"),
                (set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}, "no capability added"),
                (not own.get("privileged"), "no privileges"),
                (own.get("readOnlyRootFilesystem") is True, "readOnlyRootFilesystem (which this project asks for)"),
                (all("hostPort" not in port for port in container.get("ports", [])), "no port of the node"),
            ):
                if not holds:
                    self.say(document, f"restricted: container {container['name']} needs {text}")

    def check_selectors(self):
        for service in self.of("Service"):
            for port in service["spec"].get("ports", []):
                self.check_port(service, "its port", port["port"])
            selector = service["spec"].get("selector")
            if not selector:
                continue
            behind = [
                (d, spec)
                for d, labels, spec in self.pods(self.namespace(service))
                if matches({"matchLabels": selector}, labels)
            ]
            behind = [(d, spec) for d, spec in behind if d["kind"] not in ("Job", "CronJob")]
            operated = any(key.startswith("strimzi.io/") for key in selector)
            if not behind and not operated:
                self.say(service, "selects no pods")
            for port in service["spec"].get("ports", []):
                target = port.get("targetPort", port["port"])
                names = {p.get("name") for _, spec in behind for c in spec["containers"] for p in c.get("ports", [])}
                if isinstance(target, str) and target not in names:
                    self.say(service, f"its target {target} is no port of its pods")
        for document in self.of("PodDisruptionBudget"):
            if not any(
                matches(document["spec"]["selector"], labels) for _, labels, _ in self.pods(self.namespace(document))
            ):
                self.say(document, "selects no pods")
        for document in self.of("NetworkPolicy"):
            if not any(
                matches(document["spec"]["podSelector"], labels) for _, labels, _ in self.pods(self.namespace(document))
            ):
                self.say(document, "selects no pods")
            for rule in document["spec"].get("ingress", []) + document["spec"].get("egress", []):
                for port in rule.get("ports", []):
                    self.check_port(document, "its rule", port["port"])
        for document in self.of("ServiceMonitor"):
            services = [
                s for s in self.of("Service") if matches(document["spec"]["selector"], s["metadata"].get("labels", {}))
            ]
            if not services:
                self.say(document, "selects no Service")
            for endpoint in document["spec"]["endpoints"]:
                if not any(
                    endpoint["port"] == port["name"] for service in services for port in service["spec"]["ports"]
                ):
                    self.say(document, f"its port {endpoint['port']} is none of the Service's")

    def check_scaling(self):
        targets = set()
        for document in self.of("ScaledObject", "HorizontalPodAutoscaler"):
            spec, namespace = document["spec"], self.namespace(document)
            least, most = (
                ("minReplicaCount", "maxReplicaCount")
                if document["kind"] == "ScaledObject"
                else ("minReplicas", "maxReplicas")
            )
            if spec.get(least, 0) > spec[most]:
                self.say(document, f"{least} is more than {most}")
            target = (spec["scaleTargetRef"].get("kind", "Deployment"), namespace, spec["scaleTargetRef"]["name"])
            if target in targets:
                self.say(document, f"{target[0]} {target[2]} is scaled twice")
            targets.add(target)
            if target not in self.objects:
                self.say(document, f"there is no {target[0]} {target[2]}")
            elif "replicas" in self.objects[target]["spec"]:
                self.say(
                    document, f"{target[0]} {target[2]} has replicas of its own, which each upgrade would set back"
                )
            for trigger in spec.get("triggers", []):
                for key, value in trigger["metadata"].items():
                    if not isinstance(value, str):
                        self.say(document, f"the trigger's {key} is no text: {value!r}")
                reference = trigger.get("authenticationRef", {}).get("name")
                if reference and not self.has("TriggerAuthentication", namespace, reference):
                    self.say(document, f"there is no TriggerAuthentication {reference}")
        for document in self.of("TriggerAuthentication"):
            for source in document["spec"].get("secretTargetRef", []):
                if not self.has("Secret", self.namespace(document), source["name"]):
                    self.say(document, f"there is no Secret {source['name']}")

    def check_roles(self):
        for document in self.of("RoleBinding", "ClusterRoleBinding"):
            role = document["roleRef"]
            if not self.has(role["kind"], self.namespace(document) if role["kind"] == "Role" else "", role["name"]):
                self.say(document, f"there is no {role['kind']} {role['name']}")
            for subject in document["subjects"]:
                if subject["kind"] == "ServiceAccount" and not self.has(
                    "ServiceAccount", subject["namespace"], subject["name"]
                ):
                    self.say(document, f"there is no ServiceAccount {subject['namespace']}/{subject['name']}")


def main(arguments):
    made_by_others, files, restricted, namespace = set(), [], False, ""
    arguments = iter(arguments)
    for argument in arguments:
        if argument == "--secrets":
            made_by_others |= set(next(arguments).split(","))
        elif argument == "--namespace":
            namespace = next(arguments)
        elif argument == "--restricted":
            restricted = True
        else:
            files.append(argument)
    failed = not files
    for file in files:
        whole = Whole(file, made_by_others, restricted, namespace)
        problems = whole.check()
        failed |= bool(problems) or not whole.objects
        print(
            "\n".join(f"{file}: {problem}" for problem in problems)
            or f"{file}: {len(whole.objects)} objects hold together"
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
