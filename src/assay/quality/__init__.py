"""Scores for conversations: what is judged, by whom, and why. Start at `scorer`."""
