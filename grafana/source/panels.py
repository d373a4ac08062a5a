"""What a board is made of: panels as short declarations, and the JSON that Grafana reads of them.

In a query `{@}` stands for the labels of the chosen cluster and regions, `{@c}` for those of the cluster alone;
`{@, x="y"}` adds to them.
"""
RUNBOOKS = "https://leeward.example/runbooks"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
HEIGHTS = {"stat": 4, "timeseries": 7}  # of 24 columns' grid units


def query(expr, legend="{{region}}", exemplar=False):
    expr = " ".join(expr.split())
    for mark, labels in (("@c", 'cluster="$cluster"'), ("@", 'cluster="$cluster",region=~"$region"')):
        expr = expr.replace("{" + mark + ", ", "{" + labels + ",").replace("{" + mark + "}", "{" + labels + "}")
    return {"expr": expr, "legendFormat": legend, **({"exemplar": True} if exemplar else {})}


def panel(kind, title, description, queries, unit, thresholds=None, runbook=None, mappings=None, width=None, decimals=None, none="no data"):
    """thresholds: [(from, color), ...], the first one's `from` is None."""
    return {"kind": kind, "title": title, "description": description, "unit": unit, "runbook": runbook, "mappings": mappings,
            "queries": [queries] if isinstance(queries, dict) else queries, "width": width, "decimals": decimals, "none": none,
            "thresholds": thresholds or [(None, BLUE)]}


def stat(*args, **options):
    return panel("stat", *args, **options)


def graph(*args, **options):
    return panel("timeseries", *args, **options)


def field_config(p):
    defaults = {"unit": p["unit"], "noValue": p["none"],
                "color": {"mode": "thresholds" if p["kind"] == "stat" else "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in p["thresholds"]]},
                "mappings": [{"type": "value", "options": {str(value): {"text": text, "color": color} for value, (text, color) in p["mappings"].items()}}]
                if p["mappings"] else []}
    if p["decimals"] is not None:
        defaults["decimals"] = p["decimals"]
    if p["kind"] == "timeseries":
        lines = len(p["thresholds"]) > 1
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "spanNulls": False,
                              "thresholdsStyle": {"mode": "dashed" if lines else "off"}}
    return {"defaults": defaults, "overrides": []}


def options(p):
    if p["kind"] == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background",
                "graphMode": "none", "textMode": "auto", "orientation": "auto", "justifyMode": "auto"}
    return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"}}


def panel_json(p, number, place):
    links = [{"title": f"Runbook: {p['runbook']}", "url": f"{RUNBOOKS}/{p['runbook']}.md", "targetBlank": True}] if p["runbook"] else []
    return {"id": number, "type": p["kind"], "title": p["title"], "description": p["description"], "datasource": DATASOURCE,
            "gridPos": place, "fieldConfig": field_config(p), "options": options(p), "links": links,
            "targets": [{"refId": "ABCDEFGH"[i], "datasource": DATASOURCE, "range": p["kind"] != "stat", "instant": p["kind"] == "stat", **q}
                        for i, q in enumerate(p["queries"])]}


def lay_out(rows):
    """Panels of a row share its 24 columns."""
    found, y = [], 0
    for title, panels in rows:
        found.append({"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                      "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        x, y, height = 0, y + 1, max(HEIGHTS[p["kind"]] for p in panels)
        for p in panels:
            width = p["width"] or 24 // len(panels)
            if x + width > 24:
                x, y = 0, y + height
            found.append(panel_json(p, len(found) + 1, {"x": x, "y": y, "w": width, "h": height}))
            x += width
        y += height
    return found


def variable(name, label, values, multi):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": values, "definition": values, "refresh": 2,
            "sort": 1, "multi": multi, "includeAll": multi, "allValue": ".+" if multi else None,
            "current": {"text": ["All"], "value": ["$__all"]} if multi else {}, "hide": 0}


def annotation(name, color, expr, title):
    return {"name": name, "enable": True, "iconColor": color, "datasource": DATASOURCE, "titleFormat": title, "step": "15s", **query(expr)}


def board(uid, title, description, rows):
    return {
        "uid": uid, "title": title, "description": description, "tags": ["leeward"], "schemaVersion": 38, "version": 1, "editable": False,
        "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "utc",
        "links": [{"title": "Leeward", "type": "dashboards", "tags": ["leeward"], "asDropdown": True, "keepTime": True, "includeVars": True}],
        "annotations": {"list": [
            annotation("Elections", "yellow", 'max by (region) (changes(leeward_leader_changes_total{@}[$__rate_interval])) > 0', "leader changed in {{region}}"),
            annotation("Promotions", "red", 'max by (region) (delta(leeward_epoch{@}[$__rate_interval])) > 0', "new epoch in {{region}}")]},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0, "current": {}, "regex": ""},
            variable("cluster", "Cluster", "label_values(leeward_epoch, cluster)", False),
            variable("region", "Region", 'label_values(leeward_epoch{cluster="$cluster"}, region)', True)]},
        "panels": lay_out(rows)}
