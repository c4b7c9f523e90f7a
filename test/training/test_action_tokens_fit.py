"""Fitting FAST to recorded episodes: what it learned from, and what it costs on those it did not see."""

import json
from pathlib import Path

import numpy as np
import pytest

from restac_ros.commands.action_tokens import REPORT, FitFast
from restac_ros.policy.action_tokens import BinCodec
from restac_ros.policy.fast import read_fast
from restac_ros.training.action_tokens_fit import FastRequest, fit_to_dataset, measure_tokens
from restac_ros.training.config import DataConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.errors import TrainingError
from restac_ros.training.norm_stats import measure_norm_stats

HORIZON = 8


def test_a_vocabulary_is_fitted_written_and_measured_beside_another(touch_data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / 'one', tmp_path / 'two'
    asked = {'horizon': HORIZON, 'validation_share': 0.4, 'vocab_size': 200}
    assert FitFast(touch_data, one, **asked).run() == 0
    assert FitFast(touch_data, two, **asked, beside=(one,)).run() == 0
    report = json.loads((two / REPORT).read_text())
    own, beside, bins = report['figures']
    assert report['held_out'] is True
    assert own | {'name': ''} == beside | {'name': ''}
    assert own['mean'] < bins['mean'] == 7 * HORIZON
    assert own['per_s'] == pytest.approx(own['mean'] * 15 / HORIZON)
    assert own['refused'] == 0
    assert own['chunks'] == bins['chunks'] > 0
    assert read_fast(two).vocab_size <= 200


def test_errors_are_given_in_metres_and_radians(episodes: Episodes) -> None:
    stats = measure_norm_stats([episodes], [[0, 1]], HORIZON).stats
    chunk = np.zeros((HORIZON, 7))
    chunk[:, 0], chunk[:, 4] = 1.0, 1 / 256
    found = measure_tokens('bins', BinCodec(), [chunk], stats, 0.5)
    ranges = np.subtract(stats.actions.q99, stats.actions.q01)
    assert found.largest_units[0] == pytest.approx(ranges[0] / 256), 'the last bin begins 1/128 below 1'
    assert found.largest_units[1] == pytest.approx(ranges[4] / 512)
    assert (found.mean, found.per_s, found.longest) == (56, 112, 56)


def test_episodes_shorter_than_a_chunk_are_refused(touch_data: Path) -> None:
    with pytest.raises(TrainingError, match='found no episode of 500 frames or more'):
        fit_to_dataset(FastRequest(touch_data, 500, data=DataConfig(validation_share=0)))


def test_without_episodes_held_out_the_report_says_so(
    touch_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FitFast(touch_data, tmp_path, horizon=HORIZON, validation_share=0.0, vocab_size=200).run()
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'none are held out' in printed
    assert json.loads((tmp_path / REPORT).read_text())['held_out'] is False
