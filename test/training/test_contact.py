"""Frames are labelled free or in contact, by the tactile image or by a column."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.training.contact import contact_labels
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.touch_task import APPROACH, LEAVE, PRESS, TOUCHES, draw_touch, make_touch_task

TOUCH = np.repeat([False, True, False], [APPROACH, PRESS, LEAVE])
TRUTH = np.concatenate([np.tile(TOUCH, TOUCHES), np.zeros(APPROACH, bool)])


@pytest.fixture
def own_data(tmp_path: Path, contract: Contract) -> Path:
    """A data set of one episode that a test may change."""
    assert list(make_touch_task(tmp_path / 'own', contract, 1)) == [0]
    return tmp_path / 'own'


def add_column(root: Path, values: np.ndarray) -> Episodes:
    (path,) = (root / 'data').glob('*/*.parquet')
    table = pq.read_table(path)
    pq.write_table(table.append_column('contact', pa.array(values)), path)
    about = root / 'meta' / 'info.json'
    info = json.loads(about.read_text())
    info['features']['contact'] = {'dtype': str(values.dtype), 'shape': [1], 'names': None}
    about.write_text(json.dumps(info))
    return open_episodes(root)


def test_the_touch_task_is_labelled_as_it_was_made(episodes: Episodes) -> None:
    labels = contact_labels(episodes, [0, 2])
    assert set(labels) == {0, 2}
    for label in labels.values():
        np.testing.assert_array_equal(label.in_contact, TRUTH)
        assert label.levels[label.in_contact].min() > label.threshold > label.levels[~label.in_contact].max()


def test_a_column_is_believed_whatever_the_images_show(own_data: Path) -> None:
    values = np.arange(len(TRUTH)) % 2 == 0
    labels = contact_labels(add_column(own_data, values), [0], 'contact')
    np.testing.assert_array_equal(labels[0].in_contact, values)
    assert labels[0].levels is None


def test_a_column_of_other_values_is_refused(own_data: Path) -> None:
    values = np.linspace(0, 1, len(TRUTH))
    with pytest.raises(TrainingError, match=r'column contact: found 0\.0\d+, expected 0 or 1'):
        contact_labels(add_column(own_data, values), [0], 'contact')


def test_a_column_that_is_not_there_is_refused(episodes: Episodes) -> None:
    with pytest.raises(TrainingError, match=r'found no column touching, expected one of action'):
        contact_labels(episodes, [0], 'touching')


def test_episodes_that_begin_in_contact_are_refused_by_number(
    episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured, they would be labelled inside out: the frames of the pressed sensor as free ones."""
    rng = np.random.default_rng(0)
    pressed = draw_touch(0.3, rng).astype(int)
    begins = {0: False, 1: True, 2: True}

    def image(_: Episodes, number: int, frame: int) -> np.ndarray:
        touches = frame < 8 if begins[number] else 12 <= frame < 20
        shown = pressed + rng.normal(0, 1, pressed.shape) if touches else draw_touch(None, rng)
        return np.clip(shown, 0, 255).astype(np.uint8)

    monkeypatch.setattr(Episodes, 'tactile_image', image)
    assert contact_labels(episodes, [0])[0].in_contact.sum() == 8
    with pytest.raises(TrainingError, match=r'found 2 of 3 episodes that begin in contact \(1, 2\)') as error:
        contact_labels(episodes, [0, 1, 2])
    assert '--contact-column, or leave these episodes out (evaluate: --episodes' in str(error.value)


def test_an_episode_without_a_steady_frame_is_refused_by_number(
    episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    noise = lambda *_: rng.integers(0, 256, (128, 160, 3), np.uint8)  # noqa: E731
    monkeypatch.setattr(Episodes, 'tactile_image', noise)
    expected = f'episode 1: found no steady tactile frames in a row among {len(TRUTH)}'
    with pytest.raises(TrainingError, match=expected):
        contact_labels(episodes, [1])
