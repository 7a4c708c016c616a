"""Classical models: how well they predict, how their inputs drift, and how they compare with LLMs."""
