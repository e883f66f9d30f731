"""Motions outside of an episode: home and reset."""
