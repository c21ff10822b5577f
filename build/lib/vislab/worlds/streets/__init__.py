"""Roads with what stands on them and beside them, seen from above."""
