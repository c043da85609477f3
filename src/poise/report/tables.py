"""The tables of a report, as HTML."""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

from poise.report import style
from poise.report.choose import baseline, looks, part, representative, same_optimizer
from poise.report.words import count, duration, share
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
    estimate = metrics.get("estimate") or {}
    for field, value in estimate.items():
        of = f" of {field}" if len(estimate) > 1 else ""
        rows.append((f"estimated error{of}, from an independent solve", number(value)))
    for name, value in (metrics.get("coefficients") or {}).items():
        rows.append((f"coefficient {name}, chosen parameters", number(value, "", ".6g")))
    if metrics.get("best_step") is not None:
        rows.append(("step of the chosen parameters", _data(metrics.get("best_step"), count)))
    wall = metrics.get("wall_seconds")
    rows += [
        ("status", escape(str(metrics.get("status", "unfinished")))),
        ("steps", _data(metrics.get("steps"), count)),
        *([("whole time", _data(wall, duration))] if wall is not None else []),
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
    colours = {recipe: look["color"] for recipe, look in looks(comparison).items()}
    table = comparison.summary.get("table", [])
    ranges = {name: head for name, head in _RANGES.items() if name != "estimate"}
    if any(row.get("estimate") for row in table):
        ranges = _RANGES
    base = next((row for row in table if row.get("recipe") == baseline(comparison)), {})
    complete = all(row.get("completed") == row.get("runs") for row in table)
    percent = "\N{NO-BREAK SPACE}%"
    body = ""
    for row in table:
        recipe = str(row.get("recipe", ""))
        colour = colours.get(recipe, style.MUTED)
        alike = same_optimizer(comparison, recipe, str(base.get("recipe", recipe)))
        body += f"<tr><th scope='row'><span class='dot' style='background:{colour}'></span>"
        body += f"{escape(recipe)}</th>"
        body += "".join(f"<td>{_range(row.get(name))}</td>" for name in ranges)
        less = _data(row.get("reduction_percent"), lambda x: share(x).replace("-", "−") + percent)
        body += f"<td>{less}</td><td>{_against(row, base)}</td>"
        extra = row.get("overhead_percent") if alike else None
        body += f"<td>{number(extra, percent, '+.1f')}</td>"
        if not complete:
            body += f"<td>{row.get('completed', NONE)} of {row.get('runs', NONE)}</td>"
        body += "</tr>"
    head = _head(
        *("recipe", *ranges.values(), "error reduction", "better with"),
        *("extra time a step", *(() if complete else ("runs completed",))),
    )
    notes = "".join(f"<p class='lead'>{escape(note)}</p>" for note in _notes(comparison))
    return _table(head, body) + notes


def _notes(comparison: Comparison) -> list[str]:
    """What stands beside what, as the comparison itself says it."""
    return [f"{note}." for note in comparison.summary.get("notes") or []]


def _against(row: dict[str, Any], base: dict[str, Any]) -> str:
    """With how many seeds a recipe did better than its baseline, and the p of the rank test."""
    found, usual = row.get("against"), row.get("baseline")
    if not found:
        return NONE
    seeds = f"{found['wins']} of {found['pairs']} seeds"
    if usual and usual != base.get("recipe"):
        seeds += f" than {escape(usual)}"
    return f"{seeds}<br><small>rank test p = {found['p']:.3f}</small>"


_RANGES = {
    "best_relative_l2": "relative L2 error, chosen",
    "relative_l2": "at the last step",
    "estimate": "estimated error",
    "train_seconds": "training time (s)",
    "steps_per_second": "steps per second",
}


def configuration(source: Run | Comparison) -> str:
    """Every setting of the recipe; of several recipes, side by side with differences marked.

    Before them, in words, the choices that an automatic recipe made for this problem.
    """
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
    choices = "".join(_choices(name, run.config.get("choices")) for name, run in shown.items())
    return choices + _table(head, body, "pairs" if not head else "")


def _choices(recipe: str, choices: Any) -> str:
    """What was chosen for the problem, a line each."""
    lines = [choices] if isinstance(choices, str) else choices or []
    if not lines:
        return ""
    items = "".join(f"<li>{escape(str(line))}</li>" for line in lines)
    lead = f"“{escape(recipe)}” chose" if recipe else "Chosen"
    return f"<p class='lead'>{lead} for this problem:</p><ul class='choices'>{items}</ul>"


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
    if value and (abs(value) < 1 or abs(value) >= 1e5):
        return _data(value, lambda x: style.short(x) + unit)
    return _data(value, lambda x: f"{x:.3g}{unit}" if abs(x) < 999.5 else f"{x:,.0f}{unit}")


def _data(value: Any, words: Any) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"<data value='{value!r}'>{escape(words(value))}</data>"


def _range(entry: dict[str, Any] | float | None) -> str:
    """A median, and under it the range over seeds."""
    entry = entry if isinstance(entry, dict) else {"median": entry}
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
