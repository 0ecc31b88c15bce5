"""What an archive costs at an object store a month, loose and packed: `python -m bench.storage_costs`.

Arithmetic over prices and sizes that can be given; nothing is measured here. What packs are
says docs/packs.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

_GB = 10**9
_THOUSAND = 1000


@dataclass(frozen=True)
class Prices:
    """Of an object store, in one currency. Deletions cost nothing."""

    gb_month: float = 0.023
    put_per_1000: float = 0.005
    get_per_1000: float = 0.0004
    retrieval_gb: float = 0.0
    least_object_bytes: int = 0
    """A smaller object is charged as one of this size."""


STANDARD = Prices()
INFREQUENT = Prices(
    gb_month=0.0125, put_per_1000=0.01, get_per_1000=0.001, retrieval_gb=0.01, least_object_bytes=128 * 1024
)


@dataclass(frozen=True)
class Archive:
    """What is kept, and how it is used in a month."""

    pictures: int
    stream_bytes: int = 3000
    record_bytes: int = 1750
    pack_bytes: int = 64 * 1024 * 1024
    read_share: float = 0.01
    """Of the pictures, how many are fetched in a month."""
    scrubs: float = 1.0
    """How often every byte is read in a month."""

    @property
    def bytes_each(self) -> int:
        """Of a stream and its record."""
        return self.stream_bytes + self.record_bytes


@dataclass(frozen=True)
class Bill:
    """Objects, requests and money."""

    objects: float
    charged_bytes: float
    taking_in: float
    """Money, once: the requests by which all pictures came in."""
    gets_month: float
    money_month: float


def bill(archive: Archive, prices: Prices, *, packed: bool) -> Bill:
    """The bill of an archive that is full and is only read and scrubbed from then on."""
    n = archive.pictures
    packs = n * archive.bytes_each / archive.pack_bytes
    # An original, a stream and a record are written; a look before each, the original and the stream read again.
    puts, gets = 3.0 * n, 5.0 * n
    if packed:
        # Stream and record are read once more to be packed, and each pack is read back.
        puts, gets = puts + packs, gets + 2.0 * n + packs
        objects = packs
        charged = packs * max(archive.pack_bytes, prices.least_object_bytes)
        scrub_gets = archive.scrubs * packs
    else:
        objects = 2.0 * n
        charged = float(n) * sum(
            max(size, prices.least_object_bytes) for size in (archive.stream_bytes, archive.record_bytes)
        )
        scrub_gets = archive.scrubs * objects
    gets_month = scrub_gets + archive.read_share * n
    read_bytes = n * (archive.scrubs * archive.bytes_each + archive.read_share * archive.stream_bytes)
    money_month = (
        charged / _GB * prices.gb_month
        + gets_month / _THOUSAND * prices.get_per_1000
        + read_bytes / _GB * prices.retrieval_gb
    )
    taking_in = puts / _THOUSAND * prices.put_per_1000 + gets / _THOUSAND * prices.get_per_1000
    return Bill(objects, charged, taking_in, gets_month, money_month)


def table(pictures: tuple[int, ...]) -> Iterator[str]:
    """The lines of docs/capacity.md."""
    yield "| pictures | class | objects | charged bytes | taking in, once | GETs a month | money a month |"
    yield "|---|---|---|---|---|---|---|"
    for count in pictures:
        for name, prices in (("standard", STANDARD), ("infrequent", INFREQUENT)):
            for packed in (False, True):
                one = bill(Archive(count), prices, packed=packed)
                yield (
                    f"| 10^{len(str(count)) - 1} | {name}, {'packed' if packed else 'loose'} | {one.objects:,.0f} "
                    f"| {one.charged_bytes / _GB:,.0f} GB | {one.taking_in:,.0f} | {one.gets_month:,.0f} "
                    f"| {one.money_month:,.2f} |"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage_costs", description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[10**6, 10**8, 10**9])
    for line in table(tuple(parser.parse_args().pictures)):
        print(line)


if __name__ == "__main__":
    main()
