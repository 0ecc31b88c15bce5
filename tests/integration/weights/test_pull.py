"""Bringing published weights into the store: sources, trust, mirrors, many processes at once."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from file_server import CONTENT, DIGEST, FileServer, dying, published, ranged, whole

from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing
from codec.weights.content import check_content
from codec.weights.download import Downloader
from codec.weights.manifest import HubSource, PathSource, Released
from codec.weights.pull import Pulled, PullRules, pull
from codec.weights.store import State, WeightsStore
from tests.unit.weights.test_content import tensors

TRUSTING = PullRules(is_trusting=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def fetch(folder: Path, released: Released, downloader: Downloader, rules: PullRules | None = None) -> Pulled:
    return pull(WeightsStore(folder, [released]), released.name, downloader, rules or PullRules())


def state(folder: Path, released: Released) -> State:
    return WeightsStore(folder, [released]).listing()[0].state


def test_pulled_file_has_its_place_and_is_not_fetched_twice(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    released = published(server.serve("/net", ranged()))
    store = WeightsStore(folder, [released])

    first = fetch(folder, released, downloader)
    second = fetch(folder, released, downloader)

    assert store.file_of(first.record).read_bytes() == CONTENT
    assert store.file_of(first.record).name == f"{DIGEST}.pth.tar"
    assert (first.was_here, second.was_here, len(server.requests)) == (False, True, 1)
    assert state(folder, released) is State.PRESENT
    assert list((folder / "incoming").iterdir()) == []


def test_next_source_is_tried_when_the_first_has_nothing_and_the_second_another_file(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    gone, other = server.url("/gone"), server.serve("/other", whole(CONTENT[::-1]))
    good = server.serve("/good", whole())
    told: list[str] = []

    pulled = pull(
        WeightsStore(folder, [published(gone, other, good)]), "some-net", downloader, PullRules(), say=told.append
    )

    assert [failure.split(": ")[0] for failure in pulled.failures] == [gone, other]
    assert "404" in pulled.failures[0] and "another file" in pulled.failures[1]
    assert pulled.record.origin == good
    assert told[0] == f"some-net from {gone}"


def test_when_no_source_has_it_every_one_is_named_with_its_reason(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    urls = [server.url("/gone"), server.serve("/page", whole(b"<html>", Content_Type="text/html"))]

    with pytest.raises(WeightsMissing) as caught:
        fetch(folder, published(*urls), downloader)

    assert all(word in str(caught.value) for word in [*urls, "404", "web page", "--from"])
    assert WeightsStore(folder, [published(*urls)], shipped=None).records() == {}


def test_source_that_dies_hands_its_part_to_the_next(server: FileServer, downloader: Downloader, folder: Path) -> None:
    dead = server.serve("/dead", dying(50_000, ranged(), times=99))
    good = server.serve("/good", ranged(etag='"of another server"'))

    fetch(folder, published(dead, good), downloader)

    begun = [request.headers.get("Range") for request in server.requests if request.path == "/good"]
    assert begun == ["bytes=200000-"]


def test_hub_file_is_asked_from_the_endpoint_that_was_named(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    server.serve("/mirror/some/repo/resolve/abc123/deep/net.ckpt", whole())
    released = Released(**{**vars(published()), "sources": (HubSource("some/repo", "deep/net.ckpt", "abc123"),)})

    pulled = fetch(folder, released, downloader, PullRules(hub_endpoint=server.url("/mirror/")))

    assert pulled.record.sha256 == DIGEST


def test_unpinned_file_needs_trust_once_and_binds_from_then_on(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    released = published(server.serve("/net", whole()), bytes=None, sha256=None)
    store = WeightsStore(folder, [released])

    assert state(folder, released) is State.NOT_PINNED
    with pytest.raises(WeightsError, match="--trust"):
        fetch(folder, released, downloader)
    assert server.requests == []

    record = fetch(folder, released, downloader, TRUSTING).record
    assert record.is_trusted and record.sha256 == DIGEST

    store.file_of(record).unlink()
    assert state(folder, released) is State.MISSING
    server.serve("/net", whole(CONTENT[::-1]))
    with pytest.raises(WeightsMissing, match="another file"):
        fetch(folder, released, downloader, TRUSTING)
    server.serve("/net", whole())
    assert fetch(folder, released, downloader).record.sha256 == DIGEST


def test_file_known_by_a_digest_prefix_needs_no_trust_but_must_have_it(
    server: FileServer, downloader: Downloader, folder: Path
) -> None:
    url = server.serve("/net", whole())

    with pytest.raises(WeightsMissing, match="another file"):
        fetch(folder, published(url, bytes=None, sha256=None, sha256_prefix="12345678"), downloader)
    good = published(url, bytes=None, sha256=None, sha256_prefix=DIGEST[:8])

    assert fetch(folder, good, downloader).record.sha256 == DIGEST


def test_damaged_file_is_fetched_again(server: FileServer, downloader: Downloader, folder: Path) -> None:
    released = published(server.serve("/net", whole()))
    store = WeightsStore(folder, [released])
    file = store.file_of(fetch(folder, released, downloader).record)
    file.write_bytes(CONTENT[:-1] + b"?")

    assert not fetch(folder, released, downloader).was_here

    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("as_file", [True, False])
def test_local_mirror_replaces_all_sources(
    server: FileServer, downloader: Downloader, folder: Path, tmp_path: Path, as_file: bool
) -> None:
    mirror = tmp_path / "usb stick"
    mirror.mkdir()
    (mirror / "some-net.pth.tar").write_bytes(CONTENT)
    rules = PullRules(only_from=str(mirror / "some-net.pth.tar" if as_file else mirror), is_offline=True)

    pulled = fetch(folder, published(server.serve("/net", whole())), downloader, rules)

    assert pulled.record.sha256 == DIGEST
    assert server.requests == []


def test_mirror_with_another_file_is_refused(downloader: Downloader, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some-net.pth.tar").write_bytes(CONTENT[::-1])

    with pytest.raises(WeightsMissing, match="another file"):
        fetch(folder, published(), downloader, PullRules(only_from=str(tmp_path)))

    assert list((folder / "incoming").iterdir()) == []


def test_mirror_may_be_a_url_prefix(server: FileServer, downloader: Downloader, folder: Path) -> None:
    server.serve("/all/some-net.pth.tar", whole())

    assert fetch(folder, published(), downloader, PullRules(only_from=server.url("/all/"))).record.sha256 == DIGEST


def test_path_among_the_sources_is_copied(downloader: Downloader, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(CONTENT)
    released = Released(**{**vars(published()), "sources": (PathSource(str(tmp_path / "here")),)})

    assert fetch(folder, released, downloader).record.sha256 == DIGEST


def test_offline_asks_nobody(server: FileServer, downloader: Downloader, folder: Path) -> None:
    with pytest.raises(WeightsMissing, match="MISC_WEIGHTS_OFFLINE"):
        fetch(folder, published(server.serve("/net", whole())), downloader, PullRules(is_offline=True))

    assert server.requests == []


def test_name_that_is_not_published_is_told(downloader: Downloader, folder: Path) -> None:
    with pytest.raises(WeightsMissing, match="not published"):
        pull(WeightsStore(folder), "no-such-net", downloader, PullRules())


def test_threads_that_pull_the_same_fetch_it_once(server: FileServer, folder: Path) -> None:
    released = published(server.serve("/net", ranged()))
    results: list[Pulled] = []

    def _pull() -> None:
        with Downloader() as downloader:
            results.append(fetch(folder, released, downloader))

    threads = [threading.Thread(target=_pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(result.was_here for result in results) == [False, True, True, True]
    assert len(server.requests) == 1


def test_processes_that_pull_the_same_fetch_it_once(server: FileServer, folder: Path) -> None:
    url = server.serve("/net", ranged())
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from file_server import published\n"
        "from codec.weights.download import Downloader\n"
        "from codec.weights.pull import PullRules, pull\n"
        "from codec.weights.store import WeightsStore\n"
        "pull(WeightsStore(Path(sys.argv[2]), [published(sys.argv[3])]), 'some-net', Downloader(), PullRules())\n"
    )
    words = [sys.executable, "-c", program, str(Path(__file__).parent), str(folder), url]

    processes = [subprocess.Popen(words) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(server.requests) == 1


def test_published_file_that_contradicts_what_was_added_by_hand_is_refused(
    server: FileServer, downloader: Downloader, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(b"mine")

    with pytest.raises(WeightsCorrupt, match=DIGEST):
        WeightsStore(folder, [published()]).add(tmp_path / "mine", name="some-net")


def test_cut_off_file_that_was_trusted_binds_nobody(server: FileServer, downloader: Downloader, folder: Path) -> None:
    good = tensors(1000)
    rules = PullRules(is_trusting=True, check=check_content)
    released = published(server.serve("/net", whole(good[:-10])), bytes=None, sha256=None)
    with pytest.raises(WeightsMissing, match="cut off"):
        fetch(folder, released, downloader, rules)
    assert state(folder, released) is State.NOT_PINNED
    # An earlier version took such a file in.
    fetch(folder, released, downloader, TRUSTING)
    server.serve("/net", whole(good))
    record = fetch(folder, released, downloader, rules).record
    assert record.bytes == len(good) and WeightsStore(folder, [released]).checked(record).read_bytes() == good
    assert fetch(folder, released, downloader, rules).was_here
