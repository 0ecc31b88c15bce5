"""The `misc` command: the codec on this machine, and a client of the API."""
