"""Textured outlines on a background: what a scene is, how it is drawn, which scenes the tasks ask for."""
