"""What runs inside an application: light, silent, never in its way."""
