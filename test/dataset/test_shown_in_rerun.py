"""Recordings and data sets as files for Rerun: what is in them is what was recorded."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

pytest.importorskip('rerun', reason='the extra view is not installed')

from rerun_file import RerunFile
from restac_ros.commands.data import View
from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.convert import convert_episode
from restac_ros.dataset.dataset_files import OWN_CONTRACT
from restac_ros.dataset.episode_frames import episode_frames
from restac_ros.dataset.errors import DatasetError
from restac_ros.framing.decode import decode_image
from restac_ros.view.errors import ViewError


@pytest.fixture(scope='module')
def bag(
    make_recording: Callable,
    contract: Contract,
    write_bag: Callable,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return write_bag(tmp_path_factory.mktemp('bag') / 'take', make_recording(contract, 1.0))


@pytest.fixture(scope='module')
def dataset(bag: Path, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes, so that a video holds more than the one that is shown."""
    root = tmp_path_factory.mktemp('set') / 'press'
    for task in ('press the button', 'press it again'):
        convert_episode(bag, contract, root, task)
    return root


def decoded(data: list[int]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(bytes(data)))).astype(int)


def test_an_episode_is_shown_with_its_own_numbers_and_images(
    dataset: Path, contract: Contract, tmp_path: Path
) -> None:
    assert View((dataset,), rrd=tmp_path / 'episode.rrd', episode=1).run() == 0
    file = RerunFile(tmp_path / 'episode.rrd')
    table = pq.read_table(
        sorted(dataset.glob('data/*/*.parquet')), columns=['episode_index', 'observation.state']
    )
    states = [row['observation.state'] for row in table.to_pylist() if row['episode_index'] == 1]
    np.testing.assert_allclose(file.values('/plots/state', 'Scalars:scalars'), states, atol=1e-6)
    assert file.values('/texts/prompt', 'TextLog:text') == ['press it again']
    frames = list(episode_frames(dataset, 1))
    assert len(frames) == len(states)
    for name in ('main', 'side', 'handeye'):
        shown = file.values(f'/cameras/{name}', 'EncodedImage:blob')
        assert len(shown) == len(frames)
        assert np.abs(decoded(shown[-1]) - frames[-1].images[name]).mean() < 3
    assert file.times_ns('/plots/state')[:2] == [0, pytest.approx(1e9 / contract.fps, abs=1e6)]
    assert len(file.values('/world/tool', 'Arrows3D:origins')) == len(frames)


def test_the_frames_of_an_episode_are_those_of_lerobot(dataset: Path) -> None:
    """Its own decoding, image by image, of an episode that begins inside a file or in one of its own."""
    from restac_ros.dataset.lerobot_access import open_dataset

    reference = open_dataset(dataset)
    first = reference.meta.episodes['length'][0]
    frames = list(episode_frames(dataset, 1))
    for place in (0, 5, len(frames) - 1):
        row = reference[first + place]
        for name, key in (('main', 'main_realsense_rgb'), ('gelsight_left', 'gelsight_left_rgb')):
            theirs = np.moveaxis(row[f'observation.images.{key}'].numpy(), 0, -1) * 255
            np.testing.assert_allclose(frames[place].images[name], theirs, atol=2)
        np.testing.assert_allclose(frames[place].action, row['action'].numpy(), atol=1e-6)


def test_a_bag_is_shown_whole(
    bag: Path, contract: Contract, make_recording: Callable, tmp_path: Path
) -> None:
    (tmp_path / 'contract.yaml').write_text(dump_contract(contract))
    asked = View((bag,), rrd=tmp_path / 'bag.rrd', contract=tmp_path / 'contract.yaml')
    assert asked.run() == 0
    file = RerunFile(tmp_path / 'bag.rrd')
    messages = [m for m in make_recording(contract, 1.0) if m.topic == contract.streams['main'].topic]
    shown = file.values('/cameras/main', 'EncodedImage:blob')
    assert 0.9 * contract.fps <= len(shown) <= 1.5 * contract.fps
    first = decode_image(contract.streams['main'], messages[0].cdr)
    assert np.abs(decoded(shown[0]) - first).mean() < 3
    assert file.times_ns('/cameras/main')[0] == messages[0].log_time_ns
    assert {'/world/robot', '/world/fingers', '/touch/image', '/touch/change'} <= file.entities


@pytest.fixture
def touchless(contract: Contract, tmp_path: Path) -> Path:
    """The file of a contract of a robot without a tactile sensor."""
    robot = yaml.safe_load(dump_contract(contract))
    robot['streams'] = {name: spec for name, spec in robot['streams'].items() if spec['role'] != 'tactile'}
    (tmp_path / 'touchless.yaml').write_text(yaml.safe_dump(robot))
    return tmp_path / 'touchless.yaml'


def test_a_robot_without_touch_is_shown_with_cameras_and_arm(
    bag: Path, touchless: Path, tmp_path: Path
) -> None:
    assert View((bag,), rrd=tmp_path / 'bag.rrd', contract=touchless).run() == 0
    entities = RerunFile(tmp_path / 'bag.rrd').entities
    assert {'/world/robot', '/world/fingers', '/world/tool', '/cameras/main', '/cameras/handeye'} <= entities
    assert not [path for path in entities if path.startswith('/touch')]


def test_a_data_set_that_has_no_contract_is_shown_with_the_one_that_is_given(
    dataset: Path, contract: Contract, touchless: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / 'foreign'
    shutil.copytree(dataset, foreign)
    (foreign / OWN_CONTRACT).unlink()
    with pytest.raises(DatasetError, match=r'has no .*contract'):
        View((foreign,), rrd=tmp_path / 'no.rrd').run()
    (tmp_path / 'contract.yaml').write_text(dump_contract(contract))
    shown = []
    for given in (tmp_path / 'contract.yaml', touchless):
        assert View((foreign,), rrd=tmp_path / 'episode.rrd', contract=given).run() == 0
        shown.append(RerunFile(tmp_path / 'episode.rrd').entities)
    assert {'/touch/image', '/cameras/main', '/plots/state'} <= shown[0]
    assert shown[1] == {path for path in shown[0] if not path.startswith(('/touch', '/plots/contact'))}


def test_a_contract_that_does_not_fit_a_data_set_is_refused_by_column(
    dataset: Path, contract: Contract, tmp_path: Path
) -> None:
    foreign = tmp_path / 'foreign'
    shutil.copytree(dataset, foreign)
    (foreign / OWN_CONTRACT).unlink()
    robot = yaml.safe_load(dump_contract(contract))
    robot['streams']['main']['feature'] = 'observation.images.front'
    (tmp_path / 'contract.yaml').write_text(yaml.safe_dump(robot))
    with pytest.raises(DatasetError, match=r'has no observation\.images\.front, .*main_realsense_rgb'):
        View((foreign,), rrd=tmp_path / 'no.rrd', contract=tmp_path / 'contract.yaml').run()


def test_an_episode_that_is_not_there_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='has 2 episodes, numbered from 0; found 2'):
        View((dataset,), rrd=tmp_path / 'no.rrd', episode=2).run()


def test_a_data_set_beside_other_recordings_is_refused(dataset: Path, bag: Path, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match='is shown alone'):
        View((dataset, bag), rrd=tmp_path / 'no.rrd').run()
