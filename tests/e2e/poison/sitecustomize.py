"""Makes an encode worker die at work with every picture whose name says so. On a worker's path in tests only."""

import os
import sys

if "workers" in sys.orig_argv and "encode" in sys.orig_argv:
    from workers.encode import task

    _real = task.encode

    def _encode(*arguments, **options):
        if "poison" in (options.get("source_name") or ""):
            os._exit(9)
        return _real(*arguments, **options)

    task.encode = _encode
