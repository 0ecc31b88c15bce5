"""Jobs that do nothing, to see that the service runs."""
