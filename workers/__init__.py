"""Worker processes: `python -m workers encode`, `decode` or `maintenance`. Knows no HTTP; see `process` and `run`."""
