"""A body of 22 joints: its skeleton, its skin, and how it moves."""
