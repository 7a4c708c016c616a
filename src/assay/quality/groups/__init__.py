"""Prompts by what they ask: masked to templates, embedded, and clustered into a score or so of groups."""
