"""The recorder's benchmark: every message counted on its way, at small size; missed targets are said."""

from dataclasses import replace
from pathlib import Path

import pytest

from restac_ros.bench.processes import Usage, cpu_share, scratch
from restac_ros.bench.recorder import expected_bytes, main, measure_recorder
from restac_ros.bench.settings import RecordBench, size_px
from restac_ros.bench.table import missed_targets
from restac_ros.dataset.errors import JournalError
from restac_ros.installation import GraphError, package_prefix


@pytest.fixture
def _nodes() -> None:
    pytest.importorskip('rclpy')
    try:
        package_prefix()
    except GraphError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures('_nodes')
def test_it_counts_every_message(slow_contract_file: Path, tmp_path: Path) -> None:
    settings = RecordBench(3.0, '64x48', 'lz4', contract=slow_contract_file)
    with scratch(tmp_path, 10**6) as folder:
        figures = measure_recorder(settings, folder)
    assert list(tmp_path.iterdir()) == []
    assert figures.streams['joints'].published == 300
    assert figures.streams['main'].published == 90
    assert figures.written_mb_per_s > 0
    assert min(figures.cpu_share, figures.source_cpu_share) > 0
    dropped = replace(figures.streams['main'], dropped=1)
    worse = replace(figures, streams=figures.streams | {'main': dropped}, cpu_share=0.6, memory_end_mb=1e4)
    missed = missed_targets(worse.rows)
    assert len(missed) >= 3
    assert any('main' in text for text in missed)


def test_too_little_disk_is_said_first(slow_contract_file: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match='GB free of'):
        main(RecordBench(1e9, contract=slow_contract_file, directory=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_expected_size_is_that_of_the_images(slow_contract_file: Path) -> None:
    from restac_ros.contract.load import load_contract

    settings = RecordBench(120.0, '640x480')
    assert expected_bytes(settings, load_contract(slow_contract_file)) == pytest.approx(10.5e9, rel=0.03)


def test_shares_are_of_one_core() -> None:
    assert cpu_share([Usage(10.0, 1.0, 0), Usage(12.0, 2.0, 0)]) == pytest.approx(0.5)


def test_sizes_are_read() -> None:
    assert size_px('640x480') == (640, 480)
    with pytest.raises(GraphError, match="size is '640', expected WIDTHxHEIGHT"):
        size_px('640')
