"""The crew of single-core threads: all pieces done, errors raised, PyTorch's own setting left alone."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from codec.nets.compression import crew
from codec.nets.compression.network import load_network
from tests.unit.nets.compression_weights import photo, unchanging_state


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """PyTorch's number of threads as it was before the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_piece_is_done_on_one_core_and_the_callers_setting_stays(count: int) -> None:
    torch.set_num_threads(count)
    seen: list[tuple[int, int, bool]] = []

    crew.in_pieces(
        lambda piece: seen.append((piece, torch.get_num_threads(), torch.is_inference_mode_enabled())), range(7)
    )

    assert sorted(seen) == [(piece, 1, True) for piece in range(7)]
    assert torch.get_num_threads() == count


@pytest.mark.parametrize("count", [1, 2])
def test_work_beside_other_work_ends_however_many_wait(count: int) -> None:
    torch.set_num_threads(count)

    def lead(beside: crew.Beside) -> int:
        promises = [beside(lambda number=number: number * number) for number in range(20)]
        return sum(promise() for promise in promises)

    results: list[int] = []
    leaders = [threading.Thread(target=lambda: results.append(crew.alone(lead))) for _ in range(12)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join(timeout=30)

    assert results == [sum(number * number for number in range(20))] * 12


def test_errors_come_out_where_the_work_was_asked_for() -> None:
    def fail(piece: int) -> None:
        if piece == 2:
            raise ArithmeticError("the third piece")

    with pytest.raises(ArithmeticError, match="third"):
        crew.in_pieces(fail, range(4))
    with pytest.raises(ZeroDivisionError):
        crew.alone(lambda beside: beside(lambda: 1 // 0)())


def test_picture_does_not_depend_on_the_number_of_threads() -> None:
    codec = load_network("cheng2020-attn", unchanging_state("cheng2020-attn", 8, 8), b"1234")
    pictures = []
    _, latents = codec.write(codec.analyse(np.asarray(photo())[:300, :400]))
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        pictures.append(codec.synthesise(latents, 400, 300))

    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()
