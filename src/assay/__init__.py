"""Self-hosted observability for LLM applications."""
