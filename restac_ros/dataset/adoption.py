"""Gives a data set that another program has made, or rewritten, the contract of its columns."""

import json
from pathlib import Path

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import (
    ABOUT,
    column_differences,
    describe_dataset,
    read_info,
    streams_of,
)
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.video.video_choice import VideoChoice


def adopt_dataset(root: Path, contract: Contract) -> None:
    """Store the contract in a data set that holds none, if all its columns are those of the contract.

    Names, types, shapes and fps are compared; the meaning of the columns is that of the contract, unchecked.

    Raises:
        DatasetError: it has a contract, its columns are others, or its videos are not made as ours are.
    """
    root = dataset_place(root)
    if (root / ABOUT / 'contract.yaml').is_file():
        raise DatasetError(f'{root} has a contract: {ABOUT / "contract.yaml"}. It needs no other.')
    info = read_info(root)
    if lines := column_differences(root, info, contract, streams_of(root, contract)):
        raise DatasetError(f'{root} does not fit the contract (data set != contract): {"; ".join(lines)}')
    found = {
        key: {name.removeprefix('video.'): value for name, value in (feature.get('info') or {}).items()}
        for key, feature in info['features'].items()
        if feature['dtype'] == 'video'
    }
    choices = {VideoChoice.of_settings(_settings(settings)) for settings in found.values()}
    if len(choices) > 1:
        raise DatasetError(f'{root}: its cameras are encoded in different ways: {json.dumps(found)}')
    with transaction(root, lambda _: False) as staging:
        describe_dataset(staging, contract, choices.pop() if choices else VideoChoice())


def _settings(stored: dict[str, object]) -> dict[str, object]:
    """Return an encoder's settings from those of a video in meta/info.json, which names the format."""
    codec = 'libsvtav1' if stored.get('codec') == 'av1' else stored.get('codec')
    return {'vcodec': codec, 'crf': stored.get('crf')}
