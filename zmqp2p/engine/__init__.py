"""Joins delivery and meaning: sessions by peer on one side, objectives on the other."""
