"""A training run goes on where it was stopped, and counts the minutes of training only."""

import time
from pathlib import Path

import pytest
import torch

from training.runs import Run, weights_from


def begin(folder: Path, steps: int = 4) -> Run:
    torch.manual_seed(1)
    network = torch.nn.Linear(3, 2)
    optimisers = {"all": torch.optim.AdamW(network.parameters(), lr=0.1)}
    return Run(folder, network, optimisers, steps, minutes=10, seed=0)


def train(run: Run, steps: int) -> None:
    for _ in range(steps):
        run.before_step()
        values = torch.from_numpy(run.random.normal(size=(5, 3))).float()
        loss = run.network(values).square().mean()
        run.optimisers["all"].zero_grad()
        loss.backward()
        run.optimisers["all"].step()
        run.after_step(loss=loss.item())


def test_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole")
    train(whole, 4)
    first = begin(tmp_path / "parts")
    train(first, 2)
    first.save()
    second = begin(tmp_path / "parts")
    assert second.step == 2 and not second.is_over
    train(second, 2)

    assert second.is_over
    for key, value in weights_from(tmp_path / "whole").items():
        # The learning rate follows the clock a little, too.
        assert torch.allclose(weights_from(tmp_path / "parts")[key], value, atol=1e-4)


def test_time_before_the_first_step_is_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = begin(tmp_path)
    now += 1000  # pictures are loaded
    run.before_step()
    now += 2
    run.after_step()
    now += 5  # the state is saved, the next batch drawn
    run.before_step()
    now += 3
    run.after_step()

    assert run.seconds == 5
