"""A simulated OpenAI provider (provider), scripted traffic for it (traffic, drive), and a time lapse (timelapse)."""
