"""Holds every resource and data source of Terraform files against the AWS provider's schema.

The provider itself comes from no package registry, but the npm package @cdktf/provider-aws carries its schema as TypeScript
declarations: one interface for each block, each argument with its name in a comment and a `?` where it may be left out.

usage: provider.py FOLDER_OF_DECLARATIONS TERRAFORM_FOLDER
"""

import re
import sys
from pathlib import Path

import hcl2

META = {"for_each", "count", "depends_on", "lifecycle", "provider", "provisioner", "connection", "timeouts"}
INTERFACE = re.compile(r"export interface (\w+)[^{]*\{(.*?)\n\}", re.S)
ARGUMENT = re.compile(r"#(\w+) \w+#\1\}.*?readonly \w+(\??): ([^;]+);", re.S)


def plain(name):
    """A name as it is, for the parser leaves quotes around some."""
    return name.strip('"')


class Schema:
    """One resource's interfaces by name."""

    def __init__(self, file):
        text = file.read_text()
        self.blocks = {}
        for name, body in INTERFACE.findall(text):
            self.blocks[name] = {argument: (kind, optional) for argument, optional, kind in ARGUMENT.findall(body)}
        # The resource's own interface is the first one that ends so.
        self.root = next((name for name in self.blocks if name.endswith("Config")), None)

    def nested(self, kind):
        """The interface that an argument's type names, if it is a block."""
        return next((word for word in re.findall(r"\w+", kind) if word in self.blocks), None)


def check(where, body, schema, block, problems):
    known = schema.blocks[block]
    given = set()
    for name, value in body.items():
        name = plain(name)
        if name in META or name.startswith("__"):
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
        parsed = hcl2.loads(file.read_text())
        for kind, prefix in (("resource", ""), ("data", "data-aws-")):
            for entry in parsed.get(kind, []):
                for type_name, instances in entry.items():
                    type_name = plain(type_name)
                    folder = prefix + type_name.removeprefix("aws_").replace("_", "-")
                    declaration = Path(declarations) / folder / "index.d.ts"
                    for name, body in instances.items():
                        count += 1
                        where = f"{file.relative_to(terraform)}: {type_name}.{plain(name)}"
                        schema = Schema(declaration) if declaration.exists() else None
                        if schema is None or schema.root is None:
                            problems.append(f"{where}: the provider has no such {kind}")
                        else:
                            check(where, body, schema, schema.root, problems)
    print("\n".join(problems) or f"{count} resources and data sources are as the provider's schema has them")
    if count == 0:
        problems.append("nothing was looked at")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
