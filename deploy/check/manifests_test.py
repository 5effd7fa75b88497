"""Each mistake that manifests.py is there to find, put into manifests without one."""

import copy
import tempfile
import unittest

import yaml

import manifests

POD = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "image": "i:1",
            "ports": [{"name": "http", "containerPort": 80}],
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ],
    "volumes": [{"name": "v", "configMap": {"name": "m"}}],
}


def thing(kind, spec=None, **rest):
    return {
        "kind": kind,
        "metadata": {"name": "x" if kind != "ConfigMap" else "m", "namespace": "n"},
        **({"spec": spec} if spec else {}),
        **rest,
    }


def good():
    return {
        "workload": thing(
            "Deployment",
            {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": copy.deepcopy(POD)},
            },
        ),
        "config": thing("ConfigMap", data={"f": ""}),
        "service": thing(
            "Service", {"selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        ),
        "budget": thing("PodDisruptionBudget", {"selector": {"matchLabels": {"a": "b"}}}),
        "scaled": thing(
            "ScaledObject",
            {
                "scaleTargetRef": {"name": "x"},
                "minReplicaCount": 1,
                "maxReplicaCount": 2,
                "triggers": [{"type": "kafka", "metadata": {"lagThreshold": "5"}}],
            },
        ),
    }


def problems(objects):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(objects.values(), file)
        file.flush()
        return manifests.Whole(file.name, {"s"}, restricted=True).check()


class Mistakes(unittest.TestCase):
    def test_what_is_right_is_passed(self):
        self.assertEqual(problems(good()), [])

    def test_each_mistake_is_found(self):
        def pod(objects):
            return objects["workload"]["spec"]["template"]["spec"]

        def container(objects):
            return pod(objects)["containers"][0]

        mistakes = {
            "does not match its pods": lambda o: o["workload"]["spec"]["selector"]["matchLabels"].update(a="c"),
            "there is no ConfigMap m": lambda o: o.pop("config"),
            "mounts the volume w": lambda o: container(o)["volumeMounts"].append({"name": "w", "mountPath": "/w"}),
            "in one place": lambda o: container(o)["volumeMounts"].append({"name": "v", "mountPath": "/v"}),
            "nothing mounts": lambda o: container(o)["volumeMounts"].clear(),
            "there is no Secret t": lambda o: container(o)["env"][0]["valueFrom"]["secretKeyRef"].update(name="t"),
            "is set twice": lambda o: container(o)["env"].append({"name": "E", "value": "1"}),
            "asks the port web": lambda o: container(o)["livenessProbe"]["httpGet"].update(port="web"),
            "65536 is no port": lambda o: container(o)["ports"][0].update(containerPort=65536),
            "more memory than": lambda o: container(o)["resources"]["requests"].update(memory="1Gi"),
            "no fixed tag": lambda o: container(o).update(image="i:latest"),
            "runAsNonRoot": lambda o: pod(o)["securityContext"].pop("runAsNonRoot"),
            "is a hostPath": lambda o: pod(o)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
            "selects no pods": lambda o: o["service"]["spec"]["selector"].update(a="c"),
            "no port of its pods": lambda o: o["service"]["spec"]["ports"][0].update(targetPort="web"),
            "minReplicaCount is more": lambda o: o["scaled"]["spec"].update(minReplicaCount=3),
            "is no text: 5": lambda o: o["scaled"]["spec"]["triggers"][0]["metadata"].update(lagThreshold=5),
            "replicas of its own": lambda o: o["workload"]["spec"].update(replicas=2),
            "there is no Deployment y": lambda o: o["scaled"]["spec"]["scaleTargetRef"].update(name="y"),
            "label l can't be": lambda o: o["config"]["metadata"].update(labels={"l": "a b"}),
        }
        for expected, make in mistakes.items():
            objects = good()
            make(objects)
            with self.subTest(expected):
                self.assertTrue(any(expected in problem for problem in problems(objects)), problems(objects))


if __name__ == "__main__":
    unittest.main()
