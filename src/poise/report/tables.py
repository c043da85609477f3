"""The tables of a report, as HTML."""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

from poise.report import style
from poise.report.choose import part, representative
from poise.report.words import count, duration
from poise.runs import Comparison, Run

NONE = "–"


def outcome_table(source: Run | Comparison) -> str:
    """The numbers of a run, or a row a recipe."""
    return _of_run(source) if isinstance(source, Run) else _of_comparison(source)


def _of_run(run: Run) -> str:
    metrics = part(run, "metrics") or {}
    last, best = metrics.get("relative_l2") or {}, metrics.get("best_relative_l2") or {}
    rows = []
    for field in last:
        of = f" of {field}" if len(last) > 1 else ""
        rows.append((f"relative L2 error{of}, last step", number(last[field])))
        rows.append((f"relative L2 error{of}, chosen parameters", number(best.get(field))))
    for name, value in (metrics.get("coefficients") or {}).items():
        rows.append((f"coefficient {name}, chosen parameters", number(value, "", ".6g")))
    if metrics.get("best_step") is not None:
        rows.append(("step of the chosen parameters", _data(metrics.get("best_step"), count)))
    rows += [
        ("status", escape(str(metrics.get("status", "unfinished")))),
        ("steps", _data(metrics.get("steps"), count)),
        ("training time", _data(metrics.get("train_seconds"), duration)),
        ("compile time", _data(metrics.get("compile_seconds"), duration)),
        ("steps per second", number(metrics.get("steps_per_second"))),
        ("peak memory", number(metrics.get("peak_memory_mb"), " MB")),
        ("parameters", _data(metrics.get("parameters"), count)),
        ("precision", escape(str(metrics.get("dtype", NONE)))),
        ("seed", escape(str(metrics.get("seed", NONE)))),
    ]
    body = "".join(f"<tr><th scope='row'>{escape(k)}</th><td>{v}</td></tr>" for k, v in rows)
    return _table("", body, "pairs") + _terms(run, metrics)


def _terms(run: Run, metrics: dict[str, Any]) -> str:
    """Final loss and weight of every term, with the colour it has in the figures."""
    history, weights = part(run, "history") or {}, metrics.get("weights") or {}
    if not run.terms:
        return ""
    body = ""
    for term, colour in style.term_colours(run.terms).items():
        losses = [float(x) for x in history.get(f"loss.{term}", ())]
        dot = f"<span class='dot' style='background:{colour}'></span>"
        body += f"<tr><th scope='row'>{dot}{escape(term)}</th>"
        body += f"<td>{number(losses[0] if losses else None)}</td>"
        body += f"<td>{number(losses[-1] if losses else None)}</td>"
        body += f"<td>{number(weights.get(term))}</td></tr>"
    return _table(_head("loss term", "loss at the start", "at the end", "final weight λ"), body)


def _of_comparison(comparison: Comparison) -> str:
    looks = style.recipe_styles(list(comparison.runs))
    body = ""
    for row in comparison.summary.get("table", []):
        recipe = str(row.get("recipe", ""))
        colour = looks.get(recipe, {}).get("color", style.MUTED)
        body += f"<tr><th scope='row'><span class='dot' style='background:{colour}'></span>"
        body += f"{escape(recipe)}</th>"
        body += "".join(f"<td>{_range(row.get(name))}</td>" for name in _RANGES)
        body += f"<td>{number(row.get('reduction_percent'), ' %', '.1f')}</td>"
        body += f"<td>{number(row.get('overhead_percent'), ' %', '+.1f')}</td>"
        body += f"<td>{row.get('completed', NONE)} of {row.get('runs', NONE)}</td></tr>"
    head = _head(
        "recipe", "relative L2 error, chosen", "at the last step", "training time (s)",
        "steps per second", "error reduction", "extra time", "runs completed",
    )  # fmt: skip
    return _table(head, body)


_RANGES = ("best_relative_l2", "relative_l2", "train_seconds", "steps_per_second")


def configuration(source: Run | Comparison) -> str:
    """Every setting of the recipe; of several recipes, side by side with differences marked."""
    if isinstance(source, Run):
        shown = {"": source}
    else:
        found = {name: representative(runs, "config") for name, runs in source.runs.items()}
        shown = {name: run for name, run in found.items() if run is not None}
    settings = [flat(run.config.get("recipe") or {}) for run in shown.values()]
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    body = ""
    for key in keys:
        values = [setting.get(key, NONE) for setting in settings]
        kind = " class='differs'" if len(set(values)) > 1 else ""
        body += f"<tr{kind}><th scope='row'>{escape(key)}</th>"
        body += "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"
    head = _head("setting", *shown) if isinstance(source, Comparison) else ""
    return _table(head, body, "pairs" if not head else "")


def surroundings(config: dict[str, Any]) -> str:
    """Seed, versions and machine."""
    rows = {"poise": str(config.get("poise", NONE)), **flat(config.get("versions") or {})}
    if config.get("threads") is not None:
        rows["threads"] = str(config["threads"])
    rows |= flat(config.get("machine") or {})
    body = "".join(
        f"<tr><th scope='row'>{escape(key)}</th><td>{escape(value)}</td></tr>"
        for key, value in rows.items()
    )
    return _table("", body, "pairs")


def number(value: Any, unit: str = "", form: str = "") -> str:
    """A number as read by people, with all its digits for whoever copies the page."""
    if value is None or not math.isfinite(value):
        return NONE
    if form:
        return _data(value, lambda x: f"{x:{form}}{unit}".replace("-", "−"))
    small = abs(value) < 1 or abs(value) >= 1e5
    return _data(value, lambda x: (style.short(x) if small and x else f"{x:.3g}") + unit)


def _data(value: Any, words: Any) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"<data value='{value!r}'>{escape(words(value))}</data>"


def _range(entry: dict[str, Any] | None) -> str:
    """A median, and under it the range over seeds."""
    entry = entry or {}
    middle, low, high = (entry.get(name) for name in ("median", "min", "max"))
    if low is None or high is None or low == high:
        return number(middle)
    return f"{number(middle)}<small>{number(low)} to {number(high)}</small>"


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _head(*names: str) -> str:
    cells = "".join(f"<th scope='col'>{escape(name)}</th>" for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _table(head: str, body: str, kind: str = "") -> str:
    attribute = f" class='{kind}'" if kind else ""
    table = f"<table{attribute}>{head}<tbody>{body}</tbody></table>"
    return f"<div class='scroll'>{table}</div>"
