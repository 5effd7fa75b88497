"""Looks for what Kibana would import and then not show: references that lead nowhere, layers without a data view, columns that are named
and not there, panels that overlap.

usage: dashboard.py OBJECTS.ndjson
"""

import json
import sys
from pathlib import Path

WIDTH = 48


def overlap(one, other):
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


def check_lens(where, attributes, outer, panel, problems):
    """One Lens panel: its layers, their columns, and what the picture takes of them."""
    inner = {reference["name"] for reference in attributes["references"]}
    for name in inner:
        if panel is not None and f"{panel}:{name}" not in outer:
            problems.append(f"{where}: the dashboard does not name its reference {name}")
    state = attributes["state"]
    layers = state["datasourceStates"]["formBased"]["layers"]
    for name, layer in layers.items():
        if f"indexpattern-datasource-layer-{name}" not in inner:
            problems.append(f"{where}: layer {name} has no data view")
        if set(layer["columnOrder"]) != set(layer["columns"]):
            problems.append(f"{where}: layer {name} orders other columns than it has")
    visualization = state["visualization"]
    for layer in visualization.get("layers") or [visualization]:
        if layer["layerId"] not in layers:
            problems.append(f"{where}: shows layer {layer['layerId']}, which is not there")
            continue
        shown = [each for key in ("accessors", "metrics", "primaryGroups") for each in layer.get(key, [])]
        shown += [layer[key] for key in ("xAccessor", "splitAccessor", "metricAccessor", "accessor") if key in layer]
        shown += [column["columnId"] for column in layer.get("columns", [])]
        for column in shown:
            if column not in layers[layer["layerId"]]["columns"]:
                problems.append(f"{where}: shows the column {column}, which is not there")


def check_dashboard(where, dashboard, problems):
    outer = {reference["name"] for reference in dashboard["references"]}
    grids = []
    for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
        index, grid = panel["panelIndex"], panel["gridData"]
        place = f"{where}/{index}"
        if grid["i"] != index or any(grid["i"] == other["i"] for other in grids):
            problems.append(f"{place}: its index is not its own")
        if grid["x"] + grid["w"] > WIDTH:
            problems.append(f"{place}: is wider than the dashboard")
        problems.extend(f"{place}: overlaps {other['i']}" for other in grids if overlap(grid, other))
        grids.append(grid)
        if "panelRefName" in panel and not any(name.endswith(panel["panelRefName"]) for name in outer):
            problems.append(f"{place}: its reference {panel['panelRefName']} is not there")
        attributes = panel.get("embeddableConfig", {}).get("attributes")
        if panel.get("type") == "lens" and attributes:
            check_lens(place, attributes, outer, index, problems)
    if not grids:
        problems.append(f"{where}: has no panels")
    return len(grids)


def main(file):
    objects = [json.loads(line) for line in Path(file).read_text().splitlines() if line.strip()]
    objects = [each for each in objects if "exportedCount" not in each]
    names, problems, panels = {(each["type"], each["id"]) for each in objects}, [], 0
    for each in objects:
        where = f"{each['type']}/{each['id']}"
        for reference in each.get("references", []):
            if (reference["type"], reference["id"]) not in names:
                problems.append(
                    f"{where}: {reference['name']} leads to {reference['type']}/{reference['id']}, which is not there"
                )
        if each["type"] == "dashboard":
            panels += check_dashboard(where, each, problems)
        if each["type"] == "lens":
            check_lens(where, each["attributes"] | {"references": each["references"]}, set(), None, problems)
    print("\n".join(problems) or f"{file}: {len(objects)} objects, {panels} panels hold together")
    return bool(problems) or not panels


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
