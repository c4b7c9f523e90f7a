"""The policy that comes along: for the cell, calibrated, small, and its card is its own."""

import re
from pathlib import Path

from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.store import checkpoint_fingerprint, load_info
from restac_ros.policy.compatibility import check_fit

MOST_BYTES = 10 << 20


def test_the_policy_that_comes_along_fits_the_cell_and_its_card_is_of_it(
    repository: Path, contract: Contract
) -> None:
    policy = repository / 'policies' / 'cell'
    info = load_info(policy)
    check_fit(info, contract, str(policy))
    assert info.config.uses_touch
    assert info.calibration is not None
    assert info.calibration.contact is not None
    assert sum(file.stat().st_size for file in policy.rglob('*')) < MOST_BYTES
    card = (policy / 'README.md').read_text()
    assert f'Checkpoint {checkpoint_fingerprint(policy)}' in card, 'write it anew: sim evaluate --card'
    assert all(data in card for data in (*info.origin.data, *info.calibration.contact.data))


def test_only_the_policy_itself_is_installed(repository: Path) -> None:
    installed = re.findall(
        r'install\(DIRECTORY (.*?)\)', (repository / 'CMakeLists.txt').read_text(), re.DOTALL
    )
    assert [line.split()[0] for line in installed if 'policies' in line] == ['policies/cell']
