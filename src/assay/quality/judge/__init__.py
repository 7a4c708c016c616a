"""The judge tier: a model grades a sample of the calls by rubrics, within a daily budget. Start at `judge`."""
