"""What a recipe is compared with: like with like."""

from __future__ import annotations

from collections.abc import Sequence

from poise.training.recipe import Recipe, describe
from poise.weighting import Fixed, Pointwise


def baseline(recipe: Recipe, among: Sequence[Recipe]) -> Recipe:
    """What a recipe is compared with.

    Fixed weights where all else is the same; if there are none, and for fixed weights themselves,
    the `main` one.
    """
    usual = main(among)
    if isinstance(recipe.weighting, Fixed):
        return usual
    fixed = [each for each in among if isinstance(each.weighting, Fixed)]
    return next((each for each in fixed if same_work(each, recipe)), usual)


def main(among: Sequence[Recipe]) -> Recipe:
    """The recipe "fixed"; else the first with fixed weights; else the first."""
    fixed = [each for each in among if isinstance(each.weighting, Fixed)]
    named = [each for each in among if each.name == "fixed"]
    return next(iter([*named, *fixed, *among]))


def same_work(one: Recipe, other: Recipe) -> bool:
    """Whether steps differ in nothing but the weighting, so that their times tell what it costs."""
    parts = ("network", "points", "optimizer", "dtype")
    described = ([describe(getattr(each, part)) for part in parts] for each in (one, other))
    return next(described) == next(described)


def notes(recipes: Sequence[Recipe]) -> list[str]:
    """What a reader of the table should know about what stands beside what, a line each."""
    usually = main(recipes).name
    aside: dict[str, list[str]] = {}
    unlike = []
    for recipe in recipes:
        usual = baseline(recipe, recipes)
        tied = isinstance(recipe.weighting, Pointwise) and recipe.weighting.tied
        if usual.name != usually:
            aside.setdefault(usual.name, []).append(recipe.name)
        elif tied and recipe.points != usual.points:
            unlike.append(recipe.name)
    lines = [
        f"{', '.join(names)}: compared with {usual}, which has the same points"
        for usual, names in aside.items()
    ]
    if unlike:
        lines.append(
            f"{', '.join(unlike)}: the points stay, and those of {usually} do not; with the recipe "
            "fixed-kept beside, like would be compared with like"
        )
    return lines
