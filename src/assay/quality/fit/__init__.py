"""Learning from a project's own labels: toxicity weights, and a threshold for every score. Start at `fitter`."""
