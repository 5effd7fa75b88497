#!/usr/bin/env python3
"""Writes nginx.ndjson, the saved objects that Kibana imports: a data view, a dashboard, a map, a table of errors.

A dashboard is a hundred kilobytes of JSON within JSON that nobody can read in a review, so it is described here, in a few
lines a panel. `dashboard.py` writes the file, and beside it searches.ndjson: for each panel the search that Kibana sends for it,
which a test runs on a real Elasticsearch. `dashboard.py --check` fails if the files are not what it would write.

The objects are of versions that Kibana 8.9 and later, and 9, take: older ones are migrated on import, newer ones refused.
"""

import json
import pathlib
import sys

VIEW = "logproc-nginx"
ACCESS = '(event.dataset : "nginx.access" or event.dataset : "nginx.ingress_controller")'
ERRORS = 'event.dataset : "nginx.error"'
ROBOTS = 'user_agent.device.name : "Spider"'


class Kql:
    """A query in Kibana's language and the same for Elasticsearch: what the searches need of the language, no more."""

    @staticmethod
    def search(text):
        """`a : "x" or b : "y"`, `a >= 500`, `a : *` and `and` between them."""
        clauses = []
        for part in text.split(" and "):
            either = [Kql._term(term) for term in part.strip("()").split(" or ")]
            clauses.append(either[0] if len(either) == 1 else {"bool": {"should": either, "minimum_should_match": 1}})
        return {"bool": {"filter": clauses}}

    @staticmethod
    def _term(text):
        negative = text.startswith("not ")
        text = text.removeprefix("not ")
        for sign, name in ((" >= ", "gte"), (" < ", "lt")):
            if sign in text:
                field, value = text.split(sign)
                return {"range": {field: {name: float(value)}}}
        field, value = text.split(" : ")
        query = {"exists": {"field": field}} if value == "*" else {"term": {field: value.strip('"')}}
        return {"bool": {"must_not": query}} if negative else query


# Columns of a panel. Each is a name, what Kibana keeps of it, and its aggregation.


def column(label, operation, kind="number", bucket=False, scale="ratio", **more):
    return {
        "label": label,
        "customLabel": True,
        "dataType": kind,
        "operationType": operation,
        "isBucketed": bucket,
        "scale": scale,
        **more,
    }


def where(query):
    return {"filter": {"query": query, "language": "kuery"}} if query else {}


def count(label, query=None):
    return column(label, "count", sourceField="___records___", params={"emptyAsNull": False}, **where(query))


def metric(label, operation, field, format_=None, query=None, **params):
    if format_:
        params["format"] = format_
    return column(label, operation, sourceField=field, params={"emptyAsNull": False, **params}, **where(query))


def over_time():
    params = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    return column("Time", "date_histogram", "date", True, "interval", sourceField="@timestamp", params=params)


def top(label, field, by, size=10, kind="string"):
    params = {
        "size": size,
        "orderBy": {"type": "column", "columnId": by},
        "orderDirection": "desc",
        "otherBucket": False,
        "missingBucket": False,
        "parentFormat": {"id": "terms"},
        "include": [],
        "exclude": [],
        "includeIsRegex": False,
        "excludeIsRegex": False,
    }
    return column(label, "terms", kind, True, "ordinal", sourceField=field, params=params)


def groups(label, **queries):
    filters = [
        {"label": name.replace("_", " "), "input": {"query": query, "language": "kuery"}}
        for name, query in queries.items()
    ]
    return column(label, "filters", "string", True, "ordinal", params={"filters": filters})


def ratio(identifier, label, part):
    """The share of the documents that `part` finds, as Lens' formula with the columns that it is made of."""
    formula = f"count(kql='{part}') / count()"
    parts = [f"{identifier}X{index}" for index in range(3)]
    syntax = {
        "type": "function",
        "name": "divide",
        "args": parts[:2],
        "location": {"min": 0, "max": len(formula)},
        "text": formula,
    }
    percent = {"id": "percent", "params": {"decimals": 2}}
    inner = f"Part of {label}"
    return {
        identifier: column(
            label,
            "formula",
            params={"formula": formula, "isFormulaBroken": False, "format": percent},
            references=[parts[2]],
        ),
        parts[0]: count(inner, part),
        parts[1]: count(inner),
        parts[2]: column(inner, "math", params={"tinymathAst": syntax}, references=parts[:2]),
    }


BYTES = {"id": "bytes", "params": {"decimals": 1}}
SECONDS = {"id": "number", "params": {"decimals": 3}}


class Panel:
    """One panel: its columns by name, how they are shown, and what it is limited to."""

    def __init__(self, title, kind, columns, visualization, query=""):
        self.title, self.kind, self.columns, self.query = title, kind, columns, query
        self.visualization = {"layerId": "layer", "layerType": "data", **visualization}

    def attributes(self):
        shape = self.visualization
        if self.kind == "lnsXY":
            shape = {
                "legend": {"isVisible": True, "position": "right"},
                "valueLabels": "hide",
                "fittingFunction": "None",
                "preferredSeriesType": shape["seriesType"],
                "layers": [shape],
            }
        elif self.kind == "lnsPie":
            shape = {"shape": "donut", "layers": [shape]}
        # Buckets come before metrics.
        order = sorted(self.columns, key=lambda name: not self.columns[name]["isBucketed"])
        layer = {"columns": self.columns, "columnOrder": order, "incompleteColumns": {}, "sampling": 1}
        return {
            "title": "",
            "description": "",
            "visualizationType": self.kind,
            "type": "lens",
            "references": [{"type": "index-pattern", "id": VIEW, "name": "indexpattern-datasource-layer-layer"}],
            "state": {
                "visualization": shape,
                "query": {"query": self.query, "language": "kuery"},
                "filters": [],
                "datasourceStates": {"formBased": {"layers": {"layer": layer}}},
                "internalReferences": [],
                "adHocDataViews": {},
            },
        }

    def search(self):
        """The search behind the panel."""
        metrics, buckets = {}, []
        for name, spec in self.columns.items():
            operation, field = spec["operationType"], spec.get("sourceField")
            if operation == "date_histogram":
                buckets.append((name, {"date_histogram": {"field": field, "fixed_interval": "1h", "min_doc_count": 1}}))
            elif operation == "terms":
                buckets.append((name, {"terms": {"field": field, "size": spec["params"]["size"]}}))
            elif operation == "filters":
                named = {each["label"]: Kql.search(each["input"]["query"]) for each in spec["params"]["filters"]}
                buckets.append((name, {"filters": {"filters": named}}))
            elif operation not in ("formula", "math"):
                aggregation = {
                    "count": lambda: None,
                    "unique_count": lambda: {"cardinality": {"field": field}},
                    "percentile": lambda: {"percentiles": {"field": field, "percents": [spec["params"]["percentile"]]}},
                    "average": lambda: {"avg": {"field": field}},
                }.get(operation, lambda: {operation: {"field": field}})()
                if "filter" in spec:
                    inner = {"aggs": {"value": aggregation}} if aggregation else {}
                    aggregation = {"filter": Kql.search(spec["filter"]["query"]), **inner}
                if aggregation:
                    metrics[name] = aggregation
        aggregations = metrics
        for name, bucket in reversed(buckets):
            aggregations = {name: {**bucket, **({"aggs": aggregations} if aggregations else {})}}
        query = Kql.search(self.query) if self.query else {"match_all": {}}
        return {"size": 0, "track_total_hits": True, "query": query, "aggs": aggregations}


def figure(title, columns, metric_="value"):
    return Panel(title, "lnsMetric", columns, {"metricAccessor": metric_}, ACCESS)


def lines(title, columns, accessors, split=None, shape="line", query=ACCESS):
    more = {"splitAccessor": split} if split else {}
    visualization = {
        "seriesType": shape,
        "xAccessor": "time",
        "accessors": accessors,
        "position": "top",
        "showGridlines": False,
        **more,
    }
    return Panel(title, "lnsXY", {"time": over_time(), **columns}, visualization, query)


def table(title, columns, query=ACCESS):
    return Panel(title, "lnsDatatable", columns, {"columns": [{"columnId": name} for name in columns]}, query)


def donut(title, columns, query=ACCESS):
    group = [name for name, spec in columns.items() if spec["isBucketed"]]
    shape = {
        "primaryGroups": group,
        "metrics": ["value"],
        "numberDisplay": "percent",
        "categoryDisplay": "default",
        "legendDisplay": "default",
        "nestedLegend": False,
    }
    return Panel(title, "lnsPie", columns, shape, query)


STATUS = {
    "2xx": "http.response.status_code >= 200 and http.response.status_code < 300",
    "3xx": "http.response.status_code >= 300 and http.response.status_code < 400",
    "4xx": "http.response.status_code >= 400 and http.response.status_code < 500",
    "5xx": "http.response.status_code >= 500",
}
SIZE = "http.response.body.bytes"
TIME = "nginx.access.http.request.time"
UPSTREAM = "nginx.ingress_controller.upstream"

# Rows of panels: the height, then each panel with its width of 48.
ROWS = [
    (
        6,
        (figure("Requests", {"value": count("Requests")}), 10),
        (figure("Visitors", {"value": metric("Addresses", "unique_count", "source.ip")}), 10),
        (figure("Errors of clients (4xx)", ratio("value", "Share of requests", STATUS["4xx"])), 9),
        (figure("Errors of servers (5xx)", ratio("value", "Share of requests", STATUS["5xx"])), 9),
        (figure("Bandwidth", {"value": metric("Bytes sent", "sum", SIZE, BYTES)}), 10),
    ),
    (
        12,
        (
            lines(
                "Requests by status over time",
                {"status": groups("Status", **STATUS), "value": count("Requests")},
                ["value"],
                "status",
                "bar_stacked",
            ),
            28,
        ),
        (lines("Error rate over time", ratio("value", "Requests with 5xx", STATUS["5xx"]), ["value"]), 20),
    ),
    (
        12,
        (
            lines("Bandwidth over time", {"value": metric("Bytes sent", "sum", SIZE, BYTES)}, ["value"], None, "area"),
            24,
        ),
        (
            lines(
                "Bots and people",
                {"who": groups("Who", People=f"not {ROBOTS}", Bots=ROBOTS), "value": count("Requests")},
                ["value"],
                "who",
                "area_stacked",
                f"{ACCESS} and user_agent.original : *",
            ),
            24,
        ),
    ),
    (
        15,
        (
            table(
                "Top pages",
                {
                    "page": top("Page", "url.path", "value", 15),
                    "value": count("Requests"),
                    "errors": count("4xx and 5xx", "http.response.status_code >= 400"),
                    "bytes": metric("Bytes sent", "sum", SIZE, BYTES),
                },
            ),
            28,
        ),
        (
            table(
                "Top referrers", {"page": top("Referrer", "http.request.referrer", "value"), "value": count("Requests")}
            ),
            20,
        ),
    ),
    (
        15,
        ("map", 28),
        (
            table(
                "Countries",
                {
                    "country": top("Country", "source.geo.country_name", "value", 15),
                    "value": count("Requests"),
                    "visitors": metric("Addresses", "unique_count", "source.ip"),
                },
            ),
            20,
        ),
    ),
    (
        12,
        (
            donut("User agents", {"agent": top("User agent", "user_agent.name", "value"), "value": count("Requests")}),
            16,
        ),
        (
            donut(
                "Operating systems",
                {"system": top("Operating system", "user_agent.os.name", "value"), "value": count("Requests")},
            ),
            16,
        ),
        (
            donut(
                "Status codes",
                {
                    "status": top("Status", "http.response.status_code", "value", kind="number"),
                    "value": count("Requests"),
                },
            ),
            16,
        ),
    ),
    (
        15,
        (
            table(
                "Slowest pages",
                {
                    "page": top("Page", "url.path", "slow"),
                    "slow": metric("95 % within (s)", "percentile", TIME, SECONDS, percentile=95),
                    "slowest": metric("Slowest (s)", "max", TIME, SECONDS),
                    "value": count("Requests"),
                },
                f"{ACCESS} and {TIME} : *",
            ),
            24,
        ),
        (
            table(
                "Largest answers",
                {
                    "page": top("Page", "url.path", "largest"),
                    "largest": metric("Largest", "max", SIZE, BYTES),
                    "average": metric("Average", "average", SIZE, BYTES),
                    "value": count("Requests"),
                },
            ),
            24,
        ),
    ),
    (
        15,
        (
            table(
                "Upstreams of the ingress controller",
                {
                    "upstream": top("Upstream", f"{UPSTREAM}.name", "value", 15),
                    "value": count("Requests"),
                    "errors": count("5xx of the last upstream", f"{UPSTREAM}.response.status_code >= 500"),
                    "slow": metric(
                        "95 % within (s)", "percentile", f"{UPSTREAM}.response.time", SECONDS, percentile=95
                    ),
                },
            ),
            24,
        ),
        (
            table(
                "Servers of upstreams",
                {
                    "server": top("Server", "nginx.ingress_controller.upstream_address_list", "value", 15),
                    "value": count("Requests"),
                    "errors": count("5xx of the last upstream", f"{UPSTREAM}.response.status_code >= 500"),
                },
            ),
            24,
        ),
    ),
    (
        12,
        (
            lines(
                "Error log by level",
                {"level": top("Level", "log.level", "value", 8), "value": count("Lines")},
                ["value"],
                "level",
                "bar_stacked",
                ERRORS,
            ),
            16,
        ),
        ("search", 32),
    ),
]


def grid():
    """Panels with their place."""
    at = 0
    for height, *row in ROWS:
        left = 0
        for panel, width in row:
            yield panel, {"x": left, "y": at, "w": width, "h": height}
            left += width
        assert left == 48, f"the row at {at} is {left} wide"
        at += height


def reference(name, kind="index-pattern", identifier=VIEW):
    return {"name": name, "type": kind, "id": identifier}


def stored(kind, identifier, version, attributes, references=()):
    return {
        "type": kind,
        "id": identifier,
        "attributes": attributes,
        "references": list(references),
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": version,
        "managed": False,
    }


def text(value):
    return json.dumps(value, separators=(",", ":"))


def data_view():
    formats = {SIZE: BYTES, TIME: SECONDS, f"{UPSTREAM}.response.time": SECONDS}
    return stored(
        "index-pattern",
        VIEW,
        "8.0.0",
        {
            "title": "logs-nginx.*-*",
            "name": "nginx logs",
            "timeFieldName": "@timestamp",
            "fieldFormatMap": text(formats),
            "fields": "[]",
            "sourceFilters": "[]",
            "runtimeFieldMap": "{}",
            "fieldAttrs": "{}",
        },
    )


def error_table():
    source = {
        "query": {"query": ERRORS, "language": "kuery"},
        "filter": [],
        "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
    }
    attributes = {
        "title": "nginx error log",
        "description": "",
        "columns": ["log.level", "message", "source.ip", "url.original", "kubernetes.pod.name", "process.pid"],
        "sort": [["@timestamp", "desc"]],
        "grid": {},
        "hideChart": True,
        "isTextBasedQuery": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": text(source)},
    }
    return stored(
        "search",
        "logproc-nginx-errors",
        "8.0.0",
        attributes,
        [reference("kibanaSavedObjectMeta.searchSourceJSON.index")],
    )


def world():
    """Countries in the colour of their number of requests, and places as circles."""
    join = "logproc-countries"

    def fixed(color):
        return {"type": "STATIC", "options": {"color": color}}

    def scaled(name, origin, **options):
        field = {"name": name, "origin": origin}
        return {
            "type": "DYNAMIC",
            "options": {"field": field, "fieldMetaOptions": {"isEnabled": True, "sigma": 3}, **options},
        }

    countries = {
        "id": "countries",
        "label": "Requests by country",
        "type": "GEOJSON_VECTOR",
        "visible": True,
        "alpha": 0.75,
        "minZoom": 0,
        "maxZoom": 24,
        "sourceDescriptor": {"type": "EMS_FILE", "id": "world_countries", "tooltipProperties": ["name", "iso2"]},
        "style": {
            "type": "VECTOR",
            "isTimeAware": True,
            "properties": {
                "fillColor": scaled(f"__kbnjoin__count__{join}", "join", color="Blues", type="ORDINAL"),
                "lineColor": fixed("#d0d6e0"),
                "lineWidth": {"type": "STATIC", "options": {"size": 1}},
            },
        },
        "joins": [
            {
                "leftField": "iso2",
                "right": {
                    "type": "ES_TERM_SOURCE",
                    "id": join,
                    "indexPatternRefName": "layer_1_join_0_index_pattern",
                    "term": "source.geo.country_iso_code",
                    "metrics": [{"type": "count", "label": "Requests"}],
                    "applyGlobalQuery": True,
                    "applyGlobalTime": True,
                    "applyForceRefresh": True,
                },
            }
        ],
    }
    places = {
        "id": "places",
        "label": "Requests by place",
        "type": "GEOJSON_VECTOR",
        "visible": True,
        "alpha": 0.75,
        "minZoom": 0,
        "maxZoom": 24,
        "sourceDescriptor": {
            "type": "ES_GEO_GRID",
            "id": "logproc-places",
            "geoField": "source.geo.location",
            "requestType": "point",
            "resolution": "COARSE",
            "metrics": [{"type": "count"}],
            "indexPatternRefName": "layer_2_source_index_pattern",
            "applyGlobalQuery": True,
            "applyGlobalTime": True,
            "applyForceRefresh": True,
        },
        "style": {
            "type": "VECTOR",
            "isTimeAware": True,
            "properties": {
                "fillColor": fixed("#e7664c"),
                "lineColor": fixed("#ffffff"),
                "iconSize": scaled("doc_count", "source", minSize=4, maxSize=20),
            },
        },
        "joins": [],
    }
    base = {
        "id": "base",
        "label": "",
        "type": "EMS_VECTOR_TILE",
        "visible": True,
        "alpha": 1,
        "minZoom": 0,
        "maxZoom": 24,
        "sourceDescriptor": {"type": "EMS_TMS", "isAutoSelect": True, "lightModeDefault": "road_map_desaturated"},
        "style": {"type": "EMS_VECTOR_TILE", "color": ""},
    }
    state = {
        "zoom": 1.4,
        "center": {"lon": 10, "lat": 25},
        "timeFilters": {"from": "now-24h", "to": "now"},
        "query": {"query": "", "language": "kuery"},
        "filters": [],
        "settings": {"autoFitToDataBounds": False},
    }
    attributes = {
        "title": "nginx requests of the world",
        "description": "",
        "mapStateJSON": text(state),
        "layerListJSON": text([base, countries, places]),
        "uiStateJSON": text({"isLayerTOCOpen": False, "openTOCDetails": []}),
    }
    references = [reference("layer_1_join_0_index_pattern"), reference("layer_2_source_index_pattern")]
    return stored("map", "logproc-nginx-world", "8.4.0", attributes, references)


STORED = {
    "map": ("map", "logproc-nginx-world", "Countries on a map"),
    "search": ("search", "logproc-nginx-errors", "Error log"),
}


def dashboard():
    panels, references = [], []
    for index, (panel, place) in enumerate(grid(), 1):
        name = str(index)
        entry = {"version": "8.9.0", "panelIndex": name, "gridData": {**place, "i": name}}
        if isinstance(panel, str):
            kind, identifier, title = STORED[panel]
            entry.update(type=kind, title=title, panelRefName=f"panel_{name}", embeddableConfig={"enhancements": {}})
            references.append(reference(f"{name}:panel_{name}", kind, identifier))
        else:
            attributes = panel.attributes()
            entry.update(
                type="lens", title=panel.title, embeddableConfig={"enhancements": {}, "attributes": attributes}
            )
            references += [{**each, "name": f"{name}:{each['name']}"} for each in attributes["references"]]
        panels.append(entry)
    options = {
        "useMargins": True,
        "syncColors": True,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    attributes = {
        "title": "nginx access logs",
        "description": "Traffic, errors, pages, visitors and the error log of nginx, as logproc writes them.",
        "panelsJSON": text(panels),
        "optionsJSON": text(options),
        "timeRestore": True,
        "timeFrom": "now-24h",
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 60000},
        "version": 1,
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": text({"query": {"query": "", "language": "kuery"}, "filter": []})
        },
    }
    return stored("dashboard", "logproc-nginx", "8.9.0", attributes, references)


def searches():
    """Each panel's title and search, those of the map and the table of errors among them."""
    everything = {"match_all": {}}
    for panel, _ in grid():
        if not isinstance(panel, str):
            yield panel.title, panel.search()
    countries = {"terms": {"field": "source.geo.country_iso_code", "size": 300}}
    yield "Countries on a map", {"size": 0, "query": everything, "aggs": {"country": countries}}
    tiles = {"geotile_grid": {"field": "source.geo.location", "precision": 4}}
    yield "Places on a map", {"size": 0, "query": everything, "aggs": {"place": tiles}}
    yield (
        "Error log",
        {
            "size": 1,
            "query": Kql.search(ERRORS),
            "sort": [{"@timestamp": "desc"}],
            "fields": ["log.level", "message", "process.pid"],
        },
    )


def main():
    objects = [data_view(), world(), error_table(), dashboard()]
    asked = [{"panel": title, "search": search} for title, search in searches()]
    folder = pathlib.Path(__file__).parent
    for name, lines_ in (("nginx.ndjson", objects), ("searches.ndjson", asked)):
        written = "".join(json.dumps(each, sort_keys=True, ensure_ascii=False) + "\n" for each in lines_)
        target = folder / name
        match sys.argv[1:]:
            case []:
                target.write_text(written)
            case ["--check"]:
                if not target.exists() or target.read_text() != written:
                    sys.exit(f"{name} is not what {pathlib.Path(__file__).name} writes: run it")
            case other:
                sys.exit(f"unknown arguments: {other}")


if __name__ == "__main__":
    main()
