"""Writes what kubeconform checks manifests with: JSON schemas of Kubernetes and of custom resources, without references.

usage: schemas.py DESTINATION KUBERNETES_SCHEMAS CRD_FILE...

KUBERNETES_SCHEMAS is a folder of the Python package kubernetes-validate; the CRDs are those of the operators' own sources.
"""

import json
import sys
from pathlib import Path

import yaml

# Some CRDs have the value `=` of an enumeration unquoted, which YAML 1.1 takes for a type of its own.
yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def resolve(node, definitions, above=()):
    """The schema with each reference replaced by what it leads to; a circle ends in a schema that takes anything."""
    if isinstance(node, list):
        return [resolve(item, definitions, above) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].rsplit("/", 1)[-1]
        return {} if name in above else resolve(definitions[name], definitions, (*above, name))
    return {key: resolve(value, definitions, above) for key, value in node.items() if key != "$id"}


def strict(node, alternative=False):
    """A CRD's schema as JSON Schema: unknown fields are refused as an API server does in strict mode."""
    if not isinstance(node, dict):
        return node
    if "properties" in node and not alternative and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    if node.pop("x-kubernetes-int-or-string", False):
        for key in ("anyOf", "pattern"):
            node.pop(key, None)
        node["type"] = ["integer", "string"]
    for child in node.get("properties", {}).values():
        strict(child)
    for key in ("items", "additionalProperties"):
        strict(node.get(key))
    for key in ("allOf", "anyOf", "oneOf"):
        for child in node.get(key, []):
            strict(child, alternative=True)
    return node


def main(destination, kubernetes, *crds):
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    definitions = json.loads((Path(kubernetes) / "_definitions.json").read_text())
    definitions = definitions.get("$defs") or definitions.get("definitions")
    count = 0
    for file in Path(kubernetes).glob("*.json"):
        if file.name in ("_definitions.json", "all.json") or "list-" in file.name:
            continue
        schema = json.loads(file.read_text())
        if not {"apiVersion", "kind", "metadata"} <= set(schema.get("properties", {})):
            continue
        (destination / file.name).write_text(json.dumps(resolve(schema, definitions)))
        count += 1
    for crd in crds:
        for document in yaml.safe_load_all(Path(crd).read_text()):
            if not document or document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            folder = destination / spec["group"]
            folder.mkdir(exist_ok=True)
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                schema.setdefault("properties", {})["metadata"] = {"type": "object"}
                (folder / f"{spec['names']['kind'].lower()}_{version['name']}.json").write_text(
                    json.dumps(strict(schema))
                )
                count += 1
    print(f"{count} schemas")


if __name__ == "__main__":
    main(*sys.argv[1:])
