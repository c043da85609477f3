"""Comparison: several recipes and seeds side by side, and what they add up to."""
