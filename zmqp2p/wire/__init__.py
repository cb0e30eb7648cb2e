"""Frames as values, and their one encoding."""
