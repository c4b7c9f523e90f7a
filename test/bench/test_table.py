"""Benchmarks' tables: a target is stated once, and judged, printed and kept from that."""

import json
from pathlib import Path

import pytest

from restac_ros.bench.table import Figure, finish, judged, missed_targets


@pytest.mark.parametrize(
    ('relation', 'good'),
    [
        ('<', (True, False, False)),
        ('<=', (True, True, False)),
        ('>=', (False, True, True)),
        ('>', (False, False, True)),
    ],
)
def test_a_figure_is_compared_with_its_limit(relation: str, good: tuple[bool, ...]) -> None:
    rows = [judged('wait', value, relation, 0.5, '{:.0%}') for value in (0.4, 0.5, 0.6)]
    assert tuple(row.good for row in rows) == good
    assert rows[0][:3] == ('wait', '40%', f'{relation} 50%')


def test_a_target_that_does_not_hold_is_neither_shown_nor_missed() -> None:
    row = judged('wait', 2.0, '<=', 1.0, '{:.1f} s')
    assert missed_targets([row.judged_if(True)]) == ['wait: 2.0 s, expected <= 1.0 s']
    assert row.judged_if(False) == Figure('wait', '2.0 s')


def test_a_missed_target_is_printed_kept_and_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Figure('runs', '3'), Figure('lost of [main]', '1', '0', good=False)]
    assert finish('a table', rows, tmp_path / 'new' / 'figures.json', {'runs': 3}) == 1
    told = 'lost of [main]: 1, expected 0'
    assert f'missed: {told}\n' in capsys.readouterr().out
    assert json.loads((tmp_path / 'new' / 'figures.json').read_text()) == {'runs': 3, 'missed': [told]}
    assert finish('a table', rows[:1], None, {}) == 0
    assert 'missed' not in capsys.readouterr().out
