"""Data sets of ours, made apart, are joined by LeRobot's own aggregation without a changed value."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lerobot.datasets.aggregate import aggregate_datasets

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.lerobot_access import open_dataset, private_cache


def test_lerobot_joins_what_was_converted_apart(
    tmp_path: Path,
    write_bag: Callable[..., Path],
    recording: list[BagMessage],
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    start_ns = recording[0].log_time_ns
    roots = []
    for number, (length_ns, task) in enumerate(
        ((600_000_000, 'press the button'), (500_000_000, 'turn the key'))
    ):
        part = [m for m in recording if m.log_time_ns < start_ns + length_ns]
        roots.append(tmp_path / f'site{number}')
        convert_episode(write_bag(tmp_path / f'bag{number}', part), contract, roots[-1], task)
    joined_root = tmp_path / 'joined'
    with private_cache():
        aggregate_datasets(['us/site0', 'us/site1'], 'us/joined', roots=roots, aggr_root=joined_root)
        joined = open_dataset(joined_root)
        apart = [item for root in roots for item in open_dataset(root)]
        assert joined.num_episodes == 2
        assert len(joined) == len(apart) >= 5
        for ours, theirs in zip(apart, joined, strict=True):
            assert ours['task'] == theirs['task']
            for key in contract_keys(ours):
                assert torch.equal(ours[key], theirs[key]), key


def contract_keys(item: dict) -> list[str]:
    """Everything that a policy reads."""
    return [key for key in item if key.startswith('observation.') or key in ('action', 'timestamp')]
