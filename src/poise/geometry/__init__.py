"""Where a problem lives: its domain, the pieces of it where terms hold, and their normals."""

from poise.geometry.box import Box, Patch, Periodic, periodic

__all__ = ["Box", "Patch", "Periodic", "periodic"]
