"""What the classifier's 1,000 classes are kinds of, and how far up one has to climb to be sure. It sees no picture."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

# One concept a line, ImageNet's classes after the colon; what is indented is a kind of it. Words in brackets group
# what has no name that would help anybody. Classes that stand nowhere name little, or are what the classifier falls
# back to for drawings, patterns and parts of things.
_TREE = """\
animal: 69 107-117 327-329
 bird: 7-24 80-100 127-146
  parrot: 87-90
   macaw: 88
   cockatoo: 89
  chicken: 7 8
  owl: 24
  raptor: 21-23
  songbird: 10-20
  grouse: 80-83
  duck: 97 98
  swan: 100
  stork: 127 128
  heron: 131-133
  wader: 139-143
  penguin: 145
  ostrich: 9
 fish: 0-6 389-397
  shark: 2 3
  ray: 5 6
 frog: 30-32
 salamander: 25-29
 (reptile): 33-68
  turtle: 33-37
  lizard: 38-48
  crocodile: 49 50
  dinosaur: 51
  snake: 52-68
 spider: 70 72-77
 scorpion: 71
 insect: 300-326
  beetle: 300-307
  butterfly: 321-326
  dragonfly: 319 320
  ant: 310
  bee: 309
 crab: 118-121 125
 lobster: 122-124
 snail: 113
 (mammal): 102-106 147-150 151-299 330-388 101
  dog: 151-268
   terrier: 179-203
   spaniel: 156 215-221
   retriever: 205-209
   husky: 248-250
   poodle: 265-267
   collie: 230-232
  (wild dog): 269-276
   wolf: 269-271
  fox: 277-280
  cat: 281-285
  big cat: 286-293
   leopard: 288-290
  bear: 294-297
  rabbit: 330-332
  hamster: 333
  squirrel: 335
  horse: 339
  zebra: 340
  pig: 341-343
  cattle: 345-347
  sheep: 348 349
  goat: 350
  antelope: 351-353
  camel: 354
  (weasel): 356-362
   otter: 360
  ape: 365-369
   gorilla: 366
   chimpanzee: 367
  monkey: 370-382
  lemur: 383 384
  elephant: 101 385 386
  panda: 388
  whale: 147 148
  seal: 149 150
  kangaroo: 104
vehicle: 847 586
 (road vehicle): 573 575 612
  car: 407 436 468 511 609 627 656 661 734 751 817
   sports car: 751 817
   convertible: 511
   ambulance: 407
   taxi: 468
  truck: 555 569 675 717 864 867
   fire engine: 555
  bus: 654 779 874
  camper: 757
  tractor: 595 856 866
  motorcycle: 665 670
  bicycle: 444 671
  tricycle: 870
  cart: 603 690
 train: 466 547 565 705 820
  tram: 829
 aircraft: 404 405 726 895 908
  airplane: 404 726 895 908
   airliner: 404
   warplane: 895
  airship: 405
 boat: 403 472 693 484 510 554 576 625 628 724 780 814 833 871 914
  sailboat: 484 780 871 914 724
  rowing boat: 472 576
   canoe: 472
   gondola: 576
  lifeboat: 625
  ship: 403 510 628
  submarine: 833
building: 410 437 449 497 498 500 538 580 634 660 663 668 682 698 727 743 832 853 858 873 900 915
 house: 449 660 853 858
  boathouse: 449
 barn: 425
 castle: 483
 palace: 698
 church: 442 497 663
 mosque: 668
 lighthouse: 437
 water tower: 900
 greenhouse: 580
 shop: 415 424 454 467 509 582 762 788 860 865
 library: 624
fence: 489 716 912
stone wall: 825
bridge: 821 839 888
window: 904 905
door: 799
(land and water): 970-980 460 525 536 718
 mountains: 970 979 980 972
  valley: 979
  volcano: 980
  cliff: 972
 shore: 460 975 976 977 978
  lake: 975
  beach: 977 978
  headland: 976
 pier: 536 718
 coral reef: 973
 geyser: 974
(clothes): 399-401 411 501 568 578 601 608 610 614 617 638 639 652 655 689 697 735 775 824 834 841 842 869 887 474 445
 dress: 578 601 689
 robe: 400 399 501 614 697
 skirt: 655
 sweater: 474 841 610
 swimsuit: 445 638 639 842
 suit: 834
 coat: 568 617 869
hat: 439 452 515 667 715 793 808 433
 straw hat: 808
helmet: 518 560
shoe: 502 514 630 770 774 788
 boot: 514
 sandal: 774
bag: 414 636 728 748 893
 backpack: 414
 handbag: 636 748
food: 924-965 988 998
 fruit: 948-957
 vegetable: 936-946
 bread: 930-932
 pizza: 963
 burger: 933
 hot dog: 934
 ice cream: 928 929
 mushroom: 947 991-997
drink: 441 966 967 969
cup: 504 967 968
bottle: 440 720 737 898 901 907
vase: 883
jug: 725 899
flowerpot: 738
bowl: 659 809
pan: 567 909
teapot: 849
coffee pot: 505
furniture: 453 493 494 526 532 559 564 765 831 857 894 423 548 703 516 520
 chair: 423 559 765 857
 bench: 703
 sofa: 831
 table: 526 532
 bed: 516 520 564
 cabinet: 453 493 495 894
musical instrument: 401 402 420 432 486 513 541 546 558 566 579 593 594 642 683 687 699 776 822 875 881 889
 guitar: 402 546
 piano: 579 881
 violin: 486 889
 drum: 541 822
 trumpet: 513 566
 saxophone: 776
screen: 527 620 664 681 782 851
 laptop: 620 681
 television: 851
keyboard: 508 878
telephone: 487 528 707
camera: 732 759
clock: 409 530 892
watch: 531 635
ball: 429 430 522 574 722 768 805 852 890
book: 921
lamp: 619 846
weapon: 413 763 764
curtain: 794 854 905
wheel: 479
baby bed: 516 520
flower: 985 986
field: 984
hay: 958
toy: 850
 teddy bear: 850
traffic light: 920
street sign: 919
fountain: 562
rocket: 657 744 812
umbrella: 879
parachute: 701
balloon: 417
bathtub: 435
barrel: 427 756
bucket: 463
candle: 470
carousel: 476
crane: 517
chest: 492
goblet: 572
hourglass: 604
lawn mower: 621
loudspeaker: 632
mailbox: 637
microphone: 650
microwave oven: 651
tent: 672
necklace: 679
padlock: 695
parking meter: 704
pillow: 721
quilt: 750
pool table: 736
printer: 742
racket: 752
refrigerator: 760
scale: 778
scoreboard: 781
sewing machine: 786
shopping cart: 791
ski: 795
stage: 819
stove: 827
sunglasses: 836 837
swing: 843
toaster: 859
totem pole: 863
tool: 477 499 587 596 740 784 792
vending machine: 886
washbasin: 896
washing machine: 897
plate: 923
spider web: 815
cannon: 471
diver: 983
maize: 987
"""


_GRAVE = ("animal", "vehicle")
_GRAVE_THRESHOLD = 0.6
"""What kinds of these need at least, since a wrong one misleads most. Of 333 labelled photos of animals and vehicles
that reach it 331 are named rightly."""

_BROAD = 100
_BROAD_THRESHOLD = 0.85
"""What a concept of that many classes needs: the little that each gets of any picture adds up."""


@dataclass(frozen=True)
class Concept:
    """A kind of thing. `kinds` are the words above it, nearest first; `classes` its classes, its kinds' included."""

    word: str
    kinds: tuple[str, ...]
    classes: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Guess:
    """What something is, in the narrowest word that is sure, and how sure: the summed probability of its classes."""

    concept: Concept
    probability: float

    @property
    def words(self) -> tuple[str, ...]:
        """The word and those for what it is a kind of, narrowest first."""
        return (self.concept.word, *self.concept.kinds)


@cache
def concepts() -> tuple[Concept, ...]:
    """All concepts that have a word, each after those that it is a kind of."""
    rows: list[tuple[int, str, set[int]]] = []
    for line in _TREE.strip().splitlines():
        name, _, listed = line.partition(":")
        rows.append((len(line) - len(line.lstrip()), name.strip(), _numbers(listed)))
    found = []
    above: list[str] = []
    for place, (depth, word, classes) in enumerate(rows):
        above[depth:] = [word]
        for deeper, _, others in rows[place + 1 :]:
            if deeper <= depth:
                break
            classes = classes | others
        if _is_said(word):
            kinds = tuple(kind for kind in reversed(above[:depth]) if _is_said(kind))
            found.append(Concept(word, kinds, np.array(sorted(classes))))
    return tuple(found)


@cache
def concept(word: str) -> Concept:
    """The concept of this word; raises LookupError when there is none."""
    for one in concepts():
        if one.word == word:
            return one
    raise LookupError(f"No concept is called {word!r}.")


def probability_of(word: str, probabilities: npt.NDArray[np.float32]) -> float:
    """The summed probability of a concept's classes out of (1000,)."""
    return float(probabilities[concept(word).classes].sum())


def guess(probabilities: npt.NDArray[np.float32], threshold: float, within: str | None = None) -> Guess | None:
    """The narrowest concept that (1000,) probabilities make at least as sure as the threshold, if there is one.

    With `within` only kinds of that concept are looked at, and their probabilities are shares of its own; else animals,
    vehicles and very broad concepts need more than the threshold.
    """
    total = 1.0 if within is None else max(probability_of(within, probabilities), 1e-6)
    best: Guess | None = None
    for one in concepts():
        if within is not None and within not in one.kinds:
            continue
        probability = float(probabilities[one.classes].sum()) / total
        if probability < (threshold if within is not None else max(threshold, _least(one))):
            continue
        if best is None or (len(one.kinds), probability) > (len(best.concept.kinds), best.probability):
            best = Guess(one, probability)
    return best


def _least(one: Concept) -> float:
    if len(one.classes) > _BROAD:
        return _BROAD_THRESHOLD
    return _GRAVE_THRESHOLD if (one.word, *one.kinds)[-1] in _GRAVE else 0.0


def _numbers(listed: str) -> set[int]:
    numbers: set[int] = set()
    for part in listed.split():
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def _is_said(word: str) -> bool:
    return not word.startswith("(")
