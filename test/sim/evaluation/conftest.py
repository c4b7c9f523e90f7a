"""What the tests of closed loops share: the cell's contract, and how policy and streamer are deployed."""

from pathlib import Path

import pytest

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.sim.evaluation.deployment_files import Deployment, read_deployment


@pytest.fixture(scope='session')
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract_cell.yaml')


@pytest.fixture(scope='session')
def deployment(repository: Path, contract: Contract) -> Deployment:
    return read_deployment(repository / 'config', contract, 'insert the plug')
