"""Many pictures followed as one group."""
