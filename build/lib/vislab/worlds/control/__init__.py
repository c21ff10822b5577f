"""Rearrangement by a kinematic robot: episodes, arms, a batched simulator with a column grid, and its one-environment reference."""
