"""Furnished rooms: what stands where, how it is painted, and cameras that walk through."""
