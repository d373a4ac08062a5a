"""Draws boards as Grafana would lay them out, from a file of panels with their series.

usage: draw.py ANSWERS.json DIRECTORY
"""
import json
import math
import os
import re
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

COLORS = {"green": "#56a64b", "yellow": "#e0b400", "red": "#c4162a", "blue": "#3274d9"}
INK, PAPER, GROUND = "#24292e", "#ffffff", "#f4f5f5"


def scaled(value, steps, base):
    for factor, name in steps:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {name}".rstrip()
    return f"{value:.3g} {base}".rstrip()


def text_of(value, unit):
    if math.isinf(value):
        return "unknown"
    if unit in ("bytes", "Bps"):
        return scaled(value, ((2 ** 30, "GiB"), (2 ** 20, "MiB"), (2 ** 10, "KiB")), "B") + ("/s" if unit == "Bps" else "")
    if unit == "s":
        return scaled(value, ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")) if value else (), "µs" if value and abs(value) < 1e-3 else "s") if value else "0 s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    return scaled(value, ((1e6, "M"), (1e4, "k")), "") if unit != "short" or value >= 1e4 else f"{value:.4g}"


def legend(series):
    labels, _, form = series
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), form).strip() or "value"


def color_of(value, steps):
    found = steps[0]["color"]
    for step in steps[1:]:
        if value >= step["value"]:
            found = step["color"]
    return COLORS[found]


def draw_stat(axes, panel, at):
    """The figures as they stood at one instant."""
    defaults = panel["fieldConfig"]["defaults"]
    shown = []
    for series in panel["series"]:
        points = [v for t, v in series[1] if at - 3 <= t <= at]
        if points:
            mapped = (defaults["mappings"] or [{"options": {}}])[0]["options"].get(f"{points[-1]:g}")
            shown.append((legend(series), mapped["text"] if mapped else text_of(points[-1], defaults["unit"]),
                          COLORS[mapped["color"]] if mapped else color_of(points[-1], defaults["thresholds"]["steps"])))
    shown = shown or [("", defaults["noValue"], COLORS["green"] if defaults["noValue"].startswith("none") else "#8e8e8e")]
    for i, (name, text, color) in enumerate(shown):
        axes.add_patch(pyplot.Rectangle((i / len(shown), 0), 0.985 / len(shown), 1, color=color, transform=axes.transAxes))
        x = (i + 0.5) / len(shown)
        axes.text(x, 0.58, text, ha="center", va="center", color="white", fontsize=13 if len(shown) < 3 else 9, weight="bold", transform=axes.transAxes)
        axes.text(x, 0.16, name, ha="center", va="center", color="white", fontsize=7, transform=axes.transAxes)
    axes.set_axis_off()


def draw_graph(axes, panel, phases, start, end):
    defaults = panel["fieldConfig"]["defaults"]
    lines = sorted((s for s in panel["series"] if s[1]), key=lambda s: -max((v for _, v in s[1] if math.isfinite(v)), default=0))
    for series in lines:
        times, values = [], []
        for t, v in series[1]:
            if times and t - times[-1] > 3:
                times.append(t - 1)
                values.append(math.nan)
            times.append(t)
            values.append(v if math.isfinite(v) else math.nan)
        axes.plot([t - start for t in times], values, linewidth=1.1, label=legend(series) if lines.index(series) < 6 else None)
    low, top = axes.get_ylim()
    axes.set_ylim(top=top + 0.22 * (top - low))  # room for the legend
    for step in defaults["thresholds"]["steps"][1:]:
        if step["value"] <= top:
            axes.axhline(step["value"], color=COLORS[step["color"]], linestyle="--", linewidth=0.7)
    for name, (begin, _) in phases.items():
        axes.axvline(begin - start, color="#d0d2d6", linewidth=0.6, zorder=0)
    axes.set_xlim(0, end - start)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]) if axes.get_ylim()[0] < 0.3 * top else None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: text_of(v, defaults["unit"]) if v else "0"))
    axes.tick_params(labelsize=6, colors=INK, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if lines:
        axes.legend(fontsize=5.5, frameon=False, loc="upper left", ncols=2)
    else:
        axes.text(0.5, 0.5, defaults["noValue"], ha="center", transform=axes.transAxes, color="#8e8e8e")


def draw(board, phases, folder, at=None):
    start, end = phases["idle"][0], phases["fenced"][1]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    inch = 0.34
    figure = pyplot.figure(figsize=(15, (height + 1.4) * inch), facecolor=GROUND)
    whole = (height + 1.4) * inch
    figure.text(0.012, 1 - 0.3 / whole, board["title"], fontsize=13, weight="bold", color=INK, va="center")
    figure.text(0.988, 1 - 0.3 / whole, "figures as of the lost region; seconds; grey lines: " + ", ".join(phases), fontsize=7, color="#6e7278", va="center", ha="right")
    for p in board["panels"]:
        g = p["gridPos"]
        left, width = 0.01 + g["x"] / 24 * 0.98, g["w"] / 24 * 0.98
        bottom, tall = 1 - (g["y"] + 1.4 + g["h"]) * inch / whole, g["h"] * inch / whole
        if p["type"] == "row":
            figure.text(left, bottom + tall * 0.4, p["title"], fontsize=9, color=INK, weight="bold", va="center")
            continue
        figure.add_artist(pyplot.Rectangle((left + 0.002, bottom + 0.03 * inch / whole), width - 0.004, tall - 0.1 * inch / whole, facecolor=PAPER,
                                           edgecolor="#d8d9da", linewidth=0.5, transform=figure.transFigure, zorder=-1))
        figure.text(left + 0.006, bottom + tall - 0.16 / whole, p["title"], fontsize=7.5, color=INK, weight="bold", va="center")
        if p["type"] == "stat":
            draw_stat(figure.add_axes([left + 0.006, bottom + 0.06 / whole, width - 0.012, tall - 0.36 / whole]), p, phases["lost"][1])
        else:
            draw_graph(figure.add_axes([left + 0.042, bottom + 0.24 / whole, width - 0.052, tall - 0.58 / whole], facecolor=PAPER), p, phases, start, end)
    figure.savefig(os.path.join(folder, board["uid"] + ".png"), dpi=80)
    pyplot.close(figure)


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        told = json.load(handle)
    for board in told["boards"]:
        draw(board, told["phases"], sys.argv[2])


main()
