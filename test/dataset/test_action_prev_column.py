"""The column of the last measured motion: an observation for LeRobot; data sets of the old name go on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot.configs.types import FeatureType
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from torch.utils.data import default_collate

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.convert_many import convert_many
from restac_ros.dataset.episodes import EpisodeSpan
from restac_ros.dataset.export_v21 import export_v21
from restac_ros.dataset.features import ACTION_PREV, PUBLISHED_ACTION_PREV
from restac_ros.dataset.lerobot_access import open_dataset
from restac_ros.dataset.repair.examination import examine_dataset
from restac_ros.dataset.shards import EpisodeRequest
from restac_ros.dataset.table_writing import with_renamed

pytestmark = pytest.mark.usefixtures('no_copies_in_the_users_cache')


@pytest.fixture(scope='module')
def bag(
    tmp_path_factory: pytest.TempPathFactory, write_bag: Callable[..., Path], recording: list[BagMessage]
) -> Path:
    return write_bag(tmp_path_factory.mktemp('bag') / 'bag', recording[: len(recording) * 2 // 3])


@pytest.fixture
def published(tmp_path: Path, bag: Path, contract: Contract) -> Path:
    """A data set of one episode as it was written before the column got its present name."""
    root = tmp_path / 'published'
    convert_episode(bag, contract, root, 'press')
    for path in [*root.glob('data/*/*.parquet'), *root.glob('meta/episodes/*/*.parquet')]:
        pq.write_table(with_renamed(pq.read_table(path), ACTION_PREV, PUBLISHED_ACTION_PREV), path)
    for path in (root / 'meta/info.json', root / 'meta/stats.json'):
        path.write_text(path.read_text().replace(ACTION_PREV, PUBLISHED_ACTION_PREV))
    return root


def part_of(bag: Path) -> EpisodeSpan:
    first_ns, last_ns = open_bag(bag).bounds_ns
    return EpisodeSpan(first_ns + 200_000_000, last_ns)


def test_act_of_lerobot_learns_the_action_and_no_other_output(
    tmp_path: Path, bag: Path, contract: Contract
) -> None:
    convert_episode(bag, contract, tmp_path / 'demos', 'press')
    small = {'dim_model': 32, 'dim_feedforward': 32, 'n_heads': 2, 'n_encoder_layers': 1}
    config = ACTConfig(
        **small, chunk_size=4, n_action_steps=4, device='cpu', pretrained_backbone_weights=None
    )
    meta = open_dataset(tmp_path / 'demos').meta
    policy = make_policy(config, ds_meta=meta)
    assert list(config.output_features) == ['action']
    assert config.input_features[ACTION_PREV].type is FeatureType.STATE
    apart = resolve_delta_timestamps(config, meta)
    dataset = LeRobotDataset('local/demos', meta.root, delta_timestamps=apart, video_backend='pyav')
    preprocess, _ = make_pre_post_processors(config, dataset_stats=meta.stats)
    loss, _ = policy.forward(preprocess(default_collate([dataset[0], dataset[1]])))
    loss.backward()
    assert policy.model.action_head.weight.shape[0] == 7
    assert bool(policy.model.action_head.weight.grad.abs().sum() > 0)


@pytest.mark.parametrize('by_shard', [False, True])
def test_a_data_set_of_the_published_name_takes_episodes_under_it(
    published: Path, bag: Path, contract: Contract, by_shard: bool
) -> None:
    if by_shard:
        (outcome,) = convert_many([EpisodeRequest(bag, 'turn', contract, span=part_of(bag))], published)
        assert outcome.refusal == ''
    else:
        convert_episode(bag, contract, published, 'turn')
    dataset = open_dataset(published)
    assert dataset.num_episodes == 2
    assert ACTION_PREV not in dataset.features
    rows = [dataset[row][PUBLISHED_ACTION_PREV].numpy() for row in range(len(dataset))]
    assert np.abs(rows[-1]).max() > 0
    assert examine_dataset(published).is_fine
    assert export_v21(published, published.with_name('v21')) == 2
