"""Three details and an overall text as a large model words them are stored exactly within 1,280 bits.

The published accounting pays 8 bits a character, 5,104 for 638 of them. The texts were written for this test, after
the prior was frozen.
"""

import pytest

from codec.bitstream.stream import Texts
from codec.bitstream.text.payload import decode_texts, encode_texts

MOST_BITS = 1_280

DESCRIPTIONS = [
    Texts(
        (
            "A weathered wooden rowing boat tied to a mossy post",
            "Steep green hills covered with pine trees and drifting mist",
            "Calm dark water reflecting the boat and the grey sky",
        ),
        "The image shows a small wooden rowing boat resting on a still mountain lake in the early morning. Behind it, "
        "steep hills covered with dark pine trees rise into low clouds and drifting mist. The water reflects the boat, "
        "the trees and the pale grey sky almost perfectly, broken only by a few faint ripples near the stern. Soft, "
        "diffused light and muted green and blue tones create a quiet, peaceful and slightly mysterious atmosphere, "
        "with the boat placed slightly left of the centre.",
    ),
    Texts(
        (
            "An elderly man in a brown apron arranging bread loaves",
            "A large brick oven glowing orange in the background",
            "Wooden shelves filled with round loaves and woven baskets",
        ),
        "An elderly baker with a white beard stands behind a wooden counter in a small traditional bakery, carefully "
        "arranging freshly baked loaves of bread. He wears a brown apron over a rolled-up white shirt, its sleeves "
        "dusted with flour. In the background, a large brick oven glows with warm orange light, and wooden shelves are "
        "filled with round loaves and woven baskets. The warm lighting and earthy colors create a cozy, inviting "
        "atmosphere, with a shallow depth of field.",
    ),
    Texts(
        (
            "Vintage turquoise Vespa scooter with a cracked leather seat",
            'Hand-painted café sign reading "Da Ernesto" above a doorway',
            "Tabby kitten asleep on a stack of folded newspapers",
        ),
        "A turquoise Vespa scooter leans on its kickstand outside a narrow Italian café, its chrome mirrors catching "
        'the late-afternoon sun. Above the doorway, a hand-painted sign reads "Da Ernesto", flanked by terracotta '
        "pots of basil and geraniums. A tabby kitten dozes on folded newspapers beside an empty espresso cup. Peeling "
        "ochre plaster, green shutters and sharp diagonal shadows lend the vertical composition a nostalgic, "
        "sun-drenched, almost cinematic character.",
    ),
    Texts(
        (
            "Astronaut in a scuffed orange suit kneeling beside a rover",
            "Six-wheeled rover with folded solar panels and bent antenna",
            "Enormous ringed planet hanging low over a jagged horizon",
        ),
        "This digital illustration depicts an astronaut in an orange spacesuit kneeling beside a damaged six-wheeled "
        "rover on a barren, rust-colored plain. Tools lie scattered in the dust, and a thin cable trails toward a "
        "half-buried supply crate marked with the number 47. Overhead, an enormous ringed planet looms above a jagged "
        "horizon, bathing the scene in cold violet light. The painterly brushwork and vast scale convey isolation, "
        "fatigue and quiet determination.",
    ),
]


def characters(texts: Texts) -> int:
    return sum(map(len, (*texts.details, texts.overall)))


@pytest.mark.parametrize("texts", DESCRIPTIONS, ids=lambda texts: texts.overall[:20])
def test_description_of_a_large_model_is_exact_within_the_budget(texts: Texts) -> None:
    assert all(len(detail.split()) <= 10 for detail in texts.details)
    assert 620 <= characters(texts) <= 680
    payload = encode_texts(texts)
    assert decode_texts(payload) == texts
    assert 8 * len(payload) <= MOST_BITS
