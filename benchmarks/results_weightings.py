"""The part of RESULTS.md on the rules for the loss weights."""

from __future__ import annotations

import math
import statistics

from scipy.stats import mannwhitneyu

from common import measured, measured_each


def rules_part(data: dict) -> list[str]:
    """The rules side by side: median error, and the geometric mean of what it is of the best."""
    rules = list(dict.fromkeys(r["rule"] for r in data["runs"]))
    problems = list(dict.fromkeys(r["problem"] for r in data["runs"]))
    errors = {
        (problem, rule): [
            r["error"] for r in data["runs"] if (r["problem"], r["rule"]) == (problem, rule)
        ]
        for problem in problems
        for rule in rules
    }
    lines = [
        "## Which weighting serves Gauss-Newton",
        "",
        "`benchmarks/rules.py`: the network and the points on which `poise.solve` settles, equal "
        "steps, weights at every step; the rules cost the same, for the Jacobian is there. Median "
        "relative L2 error over seeds (largest). *Behind the best*: geometric mean over the "
        "problems of the median error divided by that of the best rule. *Failed*: runs that end "
        "above 1e-1.",
        "",
        measured(data["environment"]),
        "",
        f"| problem | seeds | steps | {' | '.join(rules)} |",
        f"|---|---:|---:|{'---:|' * len(rules)}",
    ]
    middle = {pair: statistics.median(found) for pair, found in errors.items()}
    for problem in problems:
        own = [r for r in data["runs"] if r["problem"] == problem]
        cells = [
            f"{middle[problem, rule]:.1e} ({max(errors[problem, rule]):.1e})" for rule in rules
        ]
        seeds = len({r["seed"] for r in own})
        lines.append(f"| {problem} | {seeds} | {own[0]['steps']} | {' | '.join(cells)} |")
    behind, failed = [], []
    for rule in rules:
        logs = [
            math.log(middle[problem, rule] / min(middle[problem, each] for each in rules))
            for problem in problems
        ]
        behind.append(f"{math.exp(statistics.mean(logs)):.1f}")
        failed.append(str(sum(e > 0.1 for problem in problems for e in errors[problem, rule])))
    lines.append(f"| **behind the best** | | | {' | '.join(behind)} |")
    lines.append(f"| **failed** | | | {' | '.join(failed)} |")
    return [*lines, ""]


def weightings_part(data: dict) -> list[str]:
    """Every rule under Adam: at equal steps, then at equal seconds."""
    runs = data["runs"]
    steps, seeds = _settings(runs)
    ends = {r["problem"]: r["equal_seconds"] for r in runs}
    shown = ", ".join(f"{problem} {end:.1f} s" for problem, end in ends.items())
    lines = [
        "## Every weighting with Adam",
        "",
        f"`benchmarks/weightings.py rules`: the published experiment with each rule, {steps} "
        f"steps, {seeds} seeds, two runs at a time on two cores. Median relative L2 error "
        "(smallest to largest); ▾ below and ▴ above that of fixed weights by more than luck (rank "
        "test of Mann and Whitney, p < 0.05). `rba` and `self-adaptive` remember their points, "
        "512 that stay instead of 128 fresh ones: they are compared with `fixed-kept`, fixed "
        "weights on such points. *Behind the best*: geometric mean over the problems of the median "
        "error over that of the best rule. *Failed*: runs that end above 1e-1. A rule that a "
        "problem has no use for (`causal` without a time) is left out there, and from its mean. "
        f"Equal seconds are those of the quickest run: {shown}.",
        "",
        *measured_each(data["environments"]),
        "",
    ]
    for key, title in (("error", "Equal steps"), ("error_at_equal_seconds", "Equal seconds")):
        lines += [f"**{title}**", "", *_errors_table(runs, key), ""]
    return lines


def statistics_part(data: dict) -> list[str]:
    """What may stand for the maximum and the mean."""
    runs = data["runs"]
    steps, seeds = _settings(runs)
    return [
        "## Robust statistics for the weights",
        "",
        "`benchmarks/weightings.py statistics`: what stands for the maximum and the mean in "
        f"λ̂ = max|∇L_r| / mean|λ∇L|; the published experiment otherwise, {steps} steps, "
        f"{seeds} seeds. Median relative L2 error (smallest to largest), and the variance of "
        "log λ over the second half of a run, median over seeds: the smaller, the steadier. "
        "*mean*, *median* and *log-mean* are of each layer and then averaged, but for "
        "*mean-of-all* and RMS. ▾ below and ▴ above those of max / mean by more than luck (rank "
        "test of Mann and Whitney, p < 0.05; of so many tests, one or two come out by luck).",
        "",
        *measured_each(data["environments"]),
        "",
        *_statistics_lines(runs),
        "",
        *_statistics_verdict(runs),
        "",
    ]


def _settings(runs: list[dict]) -> tuple[str, int]:
    """How many steps, in words, and how many seeds."""
    steps = " and ".join(sorted({f"{r['steps']:,}" for r in runs if r["status"] != "diverged"}))
    return steps, len({r["seed"] for r in runs})


def ntk_wave_part(data: dict) -> list[str]:
    """The wave equation in the network of the study of the neural tangent kernel."""
    runs = data["runs"]
    steps = max(r["steps"] for r in runs)
    shorter = f" Here the runs are of {steps:,} steps." if steps < 80_000 else ""
    lines = [
        "## The wave equation, weights from the neural tangent kernel",
        "",
        f"`benchmarks/ntk_wave.py`: c = 2, tanh network 3 × {data['width']}, 300 fresh points per "
        "term, Adam, float32. Wang, Yu & Perdikaris (2022) report 0.45 with fixed weights after "
        "80,000 steps, and 3.9e-3 with those of the kernel." + shorter,
        "",
        measured(data["environment"]),
        "",
        "| weighting | seed | steps | relative L2 | seconds | weights at the end |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for r in runs:
        weights = ", ".join(f"{name} {value:.3g}" for name, value in r["weights"].items())
        lines.append(
            f"| {r['recipe']} | {r['seed']} | {r['steps']:,} | {r['error']:.2e} "
            f"| {r['seconds']:.0f} | {weights} |"
        )
    return [*lines, ""]


def side_by_side_part(data: dict) -> list[str]:
    """A comparison against the same runs one after another."""
    pairs = list(zip(*data["seconds"].values(), strict=True))
    shares = ", ".join(f"{one / other:.2f}" for one, other in pairs)
    one, other = (statistics.median(found) for found in data["seconds"].values())
    return [
        "## Two recipes and four seeds at a time",
        "",
        f"`benchmarks/side_by_side.py`: `poise compare` with two recipes and four seeds of "
        f"{data['steps']:,} steps, against the same eight runs one after another with the default "
        "number of threads; whole processes, compilation and the comparison's report included.",
        "",
        measured(data["environment"]),
        "",
        f"{one:.0f} s against {other:.0f} s: **{one / other:.2f} times as long** "
        f"(by round: {shares}).",
        "",
    ]


def overhead_part(data: dict) -> list[str]:
    """The cost of every rule by how often it is asked."""
    ways = ("every 1 steps", "every 10 steps", "every 100 steps")
    lines = [
        "## What each weighting costs",
        "",
        "`benchmarks/overhead.py`: the published experiment with Adam, one core, time of a step "
        "with the rule over that with fixed weights on the same points, in turns in one process: "
        "median (middle half). Rules that weight points or set a direction act at every step.",
        "",
        measured(data["environment"]),
        "",
        "| rule | every step | every 10 steps | every 100 steps |",
        "|---|---:|---:|---:|",
    ]
    for rule, ratios in data["ratios"].items():
        cells = []
        for way in ways:
            pairs = ratios.get(way) or (ratios.get("every step") if way == ways[0] else None)
            if pairs is None:
                cells.append("")
                continue
            low, middle, high = statistics.quantiles([100 * (r - 1) for r in pairs], n=4)
            cells.append(f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})")
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return [*lines, ""]


def _errors_table(runs: list[dict], key: str) -> list[str]:
    problems, recipes = _names(runs, "problem"), _names(runs, "recipe")
    cells = {(p, r): _errors(runs, p, r, key) for p in problems for r in recipes}
    usuals = {r["recipe"]: r["baseline"] for r in runs}
    middle = {pair: statistics.median(found) for pair, found in cells.items() if found}
    lines = [
        f"| weighting | {' | '.join(problems)} | behind the best | failed |",
        f"|---|{'---:|' * (len(problems) + 2)}",
    ]
    for recipe in recipes:
        shown, logs = [], []
        for problem in problems:
            own = cells[problem, recipe]
            if not own:
                shown.append("—")
                continue
            best = min(middle[problem, each] for each in recipes if (problem, each) in middle)
            logs.append(math.log(middle[problem, recipe] / best))
            usual = cells[problem, usuals[recipe]]
            mark = "" if recipe == usuals[recipe] else _mark(own, usual)
            shown.append(f"{middle[problem, recipe]:.1e} ({min(own):.1e} to {max(own):.1e}){mark}")
        behind = math.exp(statistics.mean(logs))
        failed = sum(e > 0.1 for problem in problems for e in cells[problem, recipe])
        lines.append(f"| {recipe} | {' | '.join(shown)} | {behind:.1f} | {failed} |")
    return lines


def _mark(own: list[float], usual: list[float]) -> str:
    """Whether figures lie below or above others by more than luck."""
    if not own or not usual or mannwhitneyu(own, usual).pvalue >= 0.05:
        return ""
    return " ▾" if statistics.median(own) < statistics.median(usual) else " ▴"


PUBLISHED = "max-by-mean"


def _statistics_lines(runs: list[dict]) -> list[str]:
    """Error and steadiness of every pair of statistics on every problem."""
    problems, recipes = _names(runs, "problem"), _names(runs, "recipe")
    heads = " | ".join(f"{p}: error | var log λ" for p in problems)
    lines = [f"| numerator / denominator | {heads} |", f"|---|{'---:|---:|' * len(problems)}"]
    for recipe in recipes:
        shown = []
        for problem in problems:
            own = _errors(runs, problem, recipe, "error")
            mark = _mark(own, _errors(runs, problem, PUBLISHED, "error"))
            shown.append(f"{statistics.median(own):.1e} ({min(own):.1e} to {max(own):.1e}){mark}")
            moving = _steadiness(runs, problem, recipe)
            mark = _mark(moving, _steadiness(runs, problem, PUBLISHED)) if moving else ""
            shown.append(f"{statistics.median(moving):.1e}{mark}" if moving else "")
        lines.append(f"| {_pair(recipe)} | {' | '.join(shown)} |")
    return lines


def _statistics_verdict(runs: list[dict]) -> list[str]:
    """In which cases a pair differs from the published one, a line for each way of differing."""
    found: dict[str, list[str]] = {}
    for recipe in _names(runs, "recipe"):
        for problem in _names(runs, "problem"):
            own, usual = (_errors(runs, problem, r, "error") for r in (recipe, PUBLISHED))
            moves, before = (_steadiness(runs, problem, r) for r in (recipe, PUBLISHED))
            if recipe == PUBLISHED or not moves:
                continue
            for (lower, higher), mark in (
                (("Lower error", "Higher error"), _mark(own, usual)),
                (("Steadier weights", "Less steady weights"), _mark(moves, before)),
            ):
                for words, sign in ((lower, " ▾"), (higher, " ▴")):
                    cases = found.setdefault(words, [])
                    if mark == sign:
                        cases.append(f"{_pair(recipe)} on {problem}")
    return [
        f"- **{words}** than max / mean: {', '.join(cases) or 'in no case'}."
        for words, cases in found.items()
    ]


def _pair(recipe: str) -> str:
    return recipe.replace("-by-", " / ")


def _steadiness(runs: list[dict], problem: str, recipe: str) -> list[float]:
    """By seed; nothing where no weight moves."""
    own = [r for r in runs if (r["problem"], r["recipe"]) == (problem, recipe)]
    return [r["steadiness"] for r in own if r["steadiness"] is not None]


def _names(runs: list[dict], key: str) -> list[str]:
    return list(dict.fromkeys(r[key] for r in runs))


def _errors(runs: list[dict], problem: str, recipe: str, key: str) -> list[float]:
    """By seed; a run that ended without an error that is a number counts as an error of 1."""
    found = []
    for r in runs:
        if (r["problem"], r["recipe"]) == (problem, recipe):
            error = r[key]
            known = error is not None and math.isfinite(error)
            found.append(error if known else 1.0)
    return found
