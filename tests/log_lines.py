"""What a process of ours said, without the lines by which it only shows that it is alive."""

import re

_ALIVE = re.compile(r'^misc: (waiting|still at work|Looking)|"event": "(starting|waiting)"')


def told(output: str) -> list[str]:
    """The lines but those that say that it starts, works or waits, of which there are more on a slow machine."""
    return [line for line in output.splitlines() if line.strip() and not _ALIVE.search(line)]
