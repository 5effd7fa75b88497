"""Holds every resource and data source of Terraform files, and each attribute that is read of one, against the AWS provider's schema.

The provider itself comes from no package registry, but the npm package @cdktf/provider-aws carries its schema as TypeScript
declarations: one interface for each block, each argument with its name in a comment and a `?` where it may be left out.

usage: provider.py FOLDER_OF_DECLARATIONS TERRAFORM_FOLDER
"""

import re
import sys
from pathlib import Path

import hcl2

# Arguments of Terraform itself, which every resource has.
META = {"for_each", "count", "depends_on", "lifecycle", "provider", "provisioner", "connection"}
INTERFACE = re.compile(r"export interface (\w+)[^{]*\{(.*?)\n\}", re.S)
REFERENCE = re.compile(r"\b(data\.)?(aws_\w+)\.\w+(?:\[[^\]]*\])?\.([a-z_]\w*)")
ARGUMENT = re.compile(r"#(\w+) \w+#\1\}.*?readonly \w+(\??): ([^;]+);", re.S)


def plain(name):
    """A name as it is, for the parser leaves quotes around some."""
    return name.strip('"')


def camel(name):
    """An attribute's name as the declarations have it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def declaration(declarations, is_data, type_name):
    """The file that declares a resource or a data source."""
    prefix = "data-aws-" if is_data else ""
    return Path(declarations) / (prefix + type_name.removeprefix("aws_").replace("_", "-")) / "index.d.ts"


class Schema:
    """One resource's interfaces by name."""

    def __init__(self, file):
        text = file.read_text()
        self.attributes = set(re.findall(r"get (\w+)\(\)", text))
        self.blocks = {}
        for name, body in INTERFACE.findall(text):
            self.blocks[name] = {argument: (kind, optional) for argument, optional, kind in ARGUMENT.findall(body)}
        # The resource's own interface is the first one that ends so.
        self.root = next((name for name in self.blocks if name.endswith("Config")), None)

    def nested(self, kind):
        """The interface that an argument's type names, if it is a block."""
        return next((word for word in re.findall(r"\w+", kind) if word in self.blocks), None)


def check(where, body, schema, block, problems, meta=frozenset()):
    known = schema.blocks[block]
    given = set()
    for name, value in body.items():
        name = plain(name)
        if name in meta or name.startswith("__"):
            continue
        if name == "dynamic":
            for entry in value:
                for inner, content in entry.items():
                    given.add(plain(inner))
                    check_argument(where, plain(inner), content["content"], schema, known, problems)
            continue
        given.add(name)
        check_argument(where, name, value, schema, known, problems)
    for name, (_, optional) in known.items():
        if not optional and name not in given:
            problems.append(f"{where}: needs the argument {name}")


def check_argument(where, name, value, schema, known, problems):
    if name not in known:
        problems.append(f"{where}: has no argument {name}")
        return
    block = schema.nested(known[name][0])
    bodies = value if isinstance(value, list) else [value]
    if block and all(isinstance(body, dict) for body in bodies):
        for body in bodies:
            check(f"{where}.{name}", body, schema, block, problems)


def main(declarations, terraform):
    problems, count = [], 0
    for file in sorted(Path(terraform).rglob("*.tf")):
        text = re.sub(r"(?m)^\s*#.*", "", file.read_text())
        parsed = hcl2.loads(text)
        for is_data, type_name, attribute in REFERENCE.findall(text):
            declared = declaration(declarations, is_data, type_name)
            if not declared.exists() or camel(attribute) not in Schema(declared).attributes:
                problems.append(f"{file.relative_to(terraform)}: {is_data}{type_name} has no attribute {attribute}")
        for kind in ("resource", "data"):
            for entry in parsed.get(kind, []):
                for type_name, instances in entry.items():
                    type_name = plain(type_name)
                    declared = declaration(declarations, kind == "data", type_name)
                    for name, body in instances.items():
                        count += 1
                        where = f"{file.relative_to(terraform)}: {type_name}.{plain(name)}"
                        schema = Schema(declared) if declared.exists() else None
                        if schema is None or schema.root is None:
                            problems.append(f"{where}: the provider has no such {kind}")
                        else:
                            check(where, body, schema, schema.root, problems, META)
    print("\n".join(problems) or f"{count} resources and data sources are as the provider's schema has them")
    if count == 0:
        problems.append("nothing was looked at")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
