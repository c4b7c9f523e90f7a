"""A contract whose streams are slow and whose recordings are small."""

from pathlib import Path

import pytest

from restac_ros.bench.fuzz_subjects import slow
from restac_ros.contract.load import dump_contract, load_contract


@pytest.fixture(scope='session')
def contract_file(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped contract, with joints at 100 Hz."""
    path = tmp_path_factory.mktemp('contract') / 'contract.yaml'
    path.write_text(dump_contract(slow(load_contract(repository / 'config' / 'contract.yaml'))))
    return path
