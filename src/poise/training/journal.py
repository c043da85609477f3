"""What a solve writes down as it goes, so that a killed one goes on: its stages.

A solve is one or two members, and each of these a row of stages: a network, more points, wider
networks. In the run folder, under ``checkpoints/``, every stage has checkpoints of its own, and
``solve.json`` names the newest stage of each member, with its recipe. It is written after the
first checkpoint of a stage: what it names is there.

A member that is still trying networks has nothing to lose and begins anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poise import runs
from poise.training.checkpoint import Checkpoints
from poise.training.recipe import Recipe, describe, rebuild_recipe

NAME = "solve.json"


class Journal:
    """The stages of a solve in its run folder.

    Parameters
    ----------
    folder
        ``checkpoints`` of the run folder.
    resume
        Go on with what is noted there.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        self.folder = folder
        path = folder / NAME
        found: dict[str, Any] = json.loads(path.read_text()) if resume and path.exists() else {}
        self._members: dict[str, Any] = found.get("members", {})
        self.spent: float = found.get("seconds", 0.0)
        """Seconds that the solve had taken when it was last written down."""
        self.choices: list[str] = found.get("choices", [])
        """What it had told."""
        self._began = time.perf_counter() - self.spent
        self._open: list[StageCheckpoints] = []

    def former(self, member: str) -> Mapping[str, Any] | None:
        """What is noted of a member: ``stage``, a number, and ``recipe``, a description."""
        return self._members.get(member)

    def stage(self, member: str, number: int, recipe: Recipe) -> StageCheckpoints:
        """Where a stage of a member keeps its checkpoints."""
        self._open.append(StageCheckpoints(self, member, number, recipe))
        return self._open[-1]

    def close(self) -> None:
        """End what writes checkpoints."""
        while self._open:
            self._open.pop().close()

    def note(self, member: str, number: int, recipe: Recipe) -> None:
        """Write down the newest stage of a member."""
        self._members[member] = {"stage": number, "recipe": describe(recipe)}
        content = {
            "seconds": time.perf_counter() - self._began,
            "members": self._members,
            "choices": self.choices,
        }
        runs.write_json(self.folder / NAME, content)


class StageCheckpoints(Checkpoints):
    """The checkpoints of one stage; each is noted in the journal once it is whole."""

    def __init__(self, journal: Journal, member: str, number: int, recipe: Recipe) -> None:
        super().__init__(journal.folder / f"{member}-{number}")
        self._journal, self._place = journal, (member, number, recipe)

    def save(self, step: int, tree: Any) -> None:
        """Write a pytree of arrays as the checkpoint of a step."""
        super().save(step, tree)
        self._journal.note(*self._place)


def stage_recipe(former: Mapping[str, Any], recipes: tuple[Recipe, ...]) -> Recipe:
    """The recipe of a stage: one of the plan's where it is the same, else rebuilt.

    Raises
    ------
    ValueError
        For a recipe with parts made in Python that the plan does not have.
    """
    for recipe in recipes:
        if runs.plain(describe(recipe)) == former["recipe"]:
            return recipe
    return rebuild_recipe(former["recipe"])
