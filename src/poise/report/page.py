"""report.html: one file that needs no other."""

from __future__ import annotations

import base64
import re
from html import escape
from importlib import resources
from string import Template
from typing import Any

from poise.report import tables, words
from poise.report.choose import first_config, part, troubles
from poise.report.style import WIDTH
from poise.runs import Comparison, Run

HEADINGS = {
    "solution": "Solution",
    "ranking": "Ranking",
    "comparison": "Solutions",
    "error": "Error",
    "error_time": "Error against seconds",
    "losses": "Losses",
    "weights": "Loss weights",
    "gradients": "Gradients",
}


def page(source: Run | Comparison, drawn: dict[str, bytes], missing: dict[str, str]) -> str:
    """The whole page.

    Parameters
    ----------
    source : Run or Comparison
        Where the numbers come from.
    drawn : dict
        SVG files by name of the figure, in the order of the page.
    missing : dict
        Why a figure could not be drawn, by its name.
    """
    config = first_config(source)
    problem = config["problem"]
    title = str(problem.get("title") or problem.get("name") or "Problem")
    compared = isinstance(source, Comparison)
    notes = troubles(source) if compared else []
    notes += [f"No figure of {HEADINGS[name].lower()}: {why}." for name, why in missing.items()]
    command = source.summary.get("command") if compared else config.get("command")
    ended_badly = not compared and (part(source, "metrics") or {}).get("status") == "diverged"
    template = resources.files("poise.report").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(title),
        kicker=escape(_kicker(source, config)),
        equation=_equation(str(problem.get("equation") or "")),
        domain=escape(_domain(problem)),
        tone="bad" if ended_badly else "good",
        outcome=escape(words.outcome(source)),
        notes=_notes(notes),
        numbers=tables.outcome_table(source),
        figures="".join(_figure(name, svg, source) for name, svg in drawn.items()),
        configuration=tables.configuration(source),
        surroundings=tables.surroundings(config),
        command=_command(str(command)) if command else "",
    )


def _kicker(source: Run | Comparison, config: dict[str, Any]) -> str:
    if isinstance(source, Comparison):
        summary = source.summary
        seeds = len(summary.get("seeds", []))
        recipes = len(summary.get("recipes", source.runs))
        facts = [f"{recipes} recipes", f"{seeds} seed{'s' * (seeds != 1)}"]
        if summary.get("steps") is not None:
            facts.append(_steps(summary))
        return "poise comparison · " + " · ".join(facts)
    recipe = (config.get("recipe") or {}).get("name", "")
    return f"poise run · {recipe} · seed {config.get('seed', '?')}"


def _steps(summary: dict[str, Any]) -> str:
    """The number of steps, or its range over the recipes."""
    each = [s["steps"] for s in summary.get("settings") or [] if s.get("steps") is not None]
    low, high = min(each, default=summary["steps"]), max(each, default=summary["steps"])
    return f"{words.count(low)} to " * (low < high) + words.counted(high, "step")


def _domain(problem: dict[str, Any]) -> str:
    """Where the problem lives: t ∈ [0, 1], x ∈ [-1, 1), periodic."""
    parts = []
    periodic = problem.get("periodic") or ()
    for name, ends in (problem.get("coordinates") or {}).items():
        try:
            low, high = ends
            closing = "), periodic" if name in periodic else "]"
            parts.append(f"{name} ∈ [{float(low):g}, {float(high):g}{closing}")
        except (TypeError, ValueError):  # a shape that is not an interval
            parts.append(str(name))
    return ", ".join(parts)


def _equation(equation: str) -> str:
    """u_tt - u_xx + u^3 with its indices and powers set as such."""
    if not equation:
        return ""
    markup = escape(equation)
    markup = re.sub(r"(?<=\w)_(\w+)", r"<sub>\1</sub>", markup)
    markup = re.sub(r"\^\{([^{}]*)\}|\^\(([^()]*)\)|\^(-?\w+)", _power, markup)
    markup = markup.replace(" - ", " − ").replace(" * ", " ")
    return f"<p class='equation'>{markup}</p>"


def _power(match: re.Match[str]) -> str:
    return f"<sup>{next(group for group in match.groups() if group is not None)}</sup>"


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return "<ul class='notes'>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _figure(name: str, svg: bytes, source: Run | Comparison) -> str:
    # An image of its own document, so that the ids of several SVGs cannot meet.
    data = base64.b64encode(svg).decode()
    text = escape(words.caption(name, source))
    size = re.search(rb'<svg[^>]* width="([\d.]+)pt"', svg)
    share = min(1.0, float(size[1]) / (72 * WIDTH)) if size else 1.0
    style = f"width:{share:.0%};min-width:{34 * share:.0f}rem"  # narrow screens scroll
    return (
        f"<section><h2>{HEADINGS[name]}</h2><figure><div class='scroll'>"
        f"<img alt='{HEADINGS[name]}' style='{style}' src='data:image/svg+xml;base64,{data}'>"
        f"</div><figcaption>{text}</figcaption></figure></section>"
    )


def _command(command: str) -> str:
    return f"<h3>To repeat</h3><pre><code>{escape(command)}</code></pre>"
