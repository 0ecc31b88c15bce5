"""What the played model says: GPT-like descriptions, the same for the same picture. Knows no HTTP."""

import hashlib
import json
from typing import Any

_THINGS = ("fishing boat", "stone bridge", "market stall", "red bicycle", "sleeping dog", "lighthouse", "plane tree")
_LOOKS = ("weathered", "freshly painted", "sunlit", "half-hidden", "rain-wet", "rust-stained", "moss-covered")
_PLACES = ("left foreground", "centre", "far background", "right edge", "upper corner", "lower third", "middle ground")
_MOODS = ("calm", "busy", "nostalgic", "dramatic", "cheerful", "quiet", "windswept")
_LIGHTS = ("early morning light", "harsh noon sun", "warm evening glow", "overcast daylight", "soft window light")


def describe(picture: bytes) -> dict[str, Any]:
    """Three items and an overall text within the limits, chosen by the picture's bytes."""
    dice = hashlib.sha256(picture).digest()

    def pick(choices: tuple[str, ...], number: int) -> str:
        return choices[dice[number] % len(choices)]

    names = [_THINGS[(dice[0] + step) % len(_THINGS)] for step in (0, 2, 4)]
    items = [
        {"name": name, "detail": f"{pick(_LOOKS, place)} {name}, {pick(_PLACES, place + 8)}, no. {dice[place]}"}
        for place, name in enumerate(names, 1)
    ]
    overall = (
        f"A {pick(_MOODS, 20)} scene built around a {names[0]}, with a {names[1]} nearby and a {names[2]} behind it. "
        f"It is shown in {pick(_LIGHTS, 21)}, with muted colours, gentle contrast and fine texture. The composition "
        f"is balanced, the mood {pick(_MOODS, 22)}, and it all looks like a well-framed photograph, take {dice[23]}."
    )
    return {"items": items, "overall": overall}


def describe_as_text(picture: bytes) -> str:
    """The same as the JSON text that a model answers with."""
    return json.dumps(describe(picture))
