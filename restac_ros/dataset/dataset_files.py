"""A data set's own files, read without LeRobot: its contract, its columns, and whether to append."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.load import dump_contract, load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import (
    action_prev_key,
    feature_differences,
    features_of,
    meaning_differences,
    stored_streams,
)
from restac_ros.dataset.video.video_choice import VideoChoice
from restac_ros.git_lfs import pointer_fault

INFO = Path('meta', 'info.json')
STATS = Path('meta', 'stats.json')
TASKS = Path('meta', 'tasks.parquet')
ABOUT = Path('meta', 'restac_ros')  # our folder in a data set
OWN_CONTRACT = ABOUT / 'contract.yaml'
CONVERSION = 'conversion.json'  # in it: how recordings became episodes
CODEBASE_VERSION = 'v3.0'  # of LeRobot's format: what is written here
EARLIER_VERSION = 'v2.1'  # is read for training, and exported
CHUNK_EPISODES = 1000  # in a folder of v2.1
FORMAT_VERSION = 1  # of our folder
LANGUAGE = ('language_persistent', 'language_events')  # LeRobot's columns of words, which a data set may lack
LEROBOTS_OWN = {'timestamp', 'frame_index', 'episode_index', 'index', 'task_index', *LANGUAGE}


def check_present(root: Path) -> None:
    """Refuse a data set that does not exist, and name the nearest that does.

    Raises:
        DatasetError: there is no such directory.
    """
    if not root.is_dir():
        beside = sorted(path.name for path in root.parent.glob('*') if is_dataset(path))
        raise DatasetError(f'{root}: no such data set; in {root.parent} {did_you_mean(root.name, beside)}')


def dataset_contract(root: Path, otherwise: Contract | None = None) -> Contract:
    """Read the contract that a data set was made with; of one that holds none, return `otherwise`.

    Raises:
        DatasetError: there is no such data set, or it holds none.
        ContractError: it is not valid.
    """
    check_present(root)
    path = root / OWN_CONTRACT
    if not path.is_file():
        if otherwise is not None:
            return otherwise
        raise DatasetError(
            f'{root} has no {OWN_CONTRACT}: it was not made by this package, so '
            'that the meaning of its columns is not known. Choose another directory, or give it the '
            f'contract of its columns: `restac-ros adopt {root} --contract FILE`'
        )
    return load_contract(path)


def check_usable(root: Path) -> None:
    """Refuse a place that neither holds a data set nor is free for one.

    Raises:
        DatasetError: it is a file, or a directory with something else.
    """
    if root.exists() and not is_dataset(root) and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f'{root} is neither empty nor a LeRobot data set. Choose another.')


def is_dataset(root: Path) -> bool:
    """Return whether something at `root` claims to be a LeRobot data set."""
    return (root / INFO).is_file()


def streams_of(root: Path, contract: Contract) -> list[str]:
    """Return the streams that rows of this data set are made of; of a new one no optional images."""
    return stored_streams(contract, read_info(root)['features'] if is_dataset(root) else ())


def check_appendable(root: Path, contract: Contract, streams: Collection[str]) -> None:
    """Check that a recording fits a data set: this format, same rate, same meaning, same columns.

    Raises:
        DatasetError: every difference that forbids it, by name.
        ContractError: the data set's own contract is not valid.
    """
    lines = meaning_differences(dataset_contract(root), contract)
    lines += column_differences(root, read_info(root), contract, streams)
    if lines:
        raise DatasetError(
            f'{root} cannot take this episode (data set != recording): {"; ".join(lines)}. '
            'Use another directory, or the contract it was made with.'
        )


def column_differences(
    root: Path, info: dict[str, Any], contract: Contract, streams: Collection[str]
) -> list[str]:
    """Return lines `what: data set's != contract's` for the rate and the columns.

    Raises:
        DatasetError: it is of another format.
    """
    if (version := info.get('codebase_version')) != CODEBASE_VERSION:
        raise DatasetError(
            f'{root} is LeRobot {version}; episodes are appended to {CODEBASE_VERSION}. Use '
            'another directory; `restac-ros export` makes v2.1 of it.'
        )
    lines = [] if info['fps'] == contract.fps else [f'fps: {info["fps"]} != {contract.fps}']
    wanted = features_of(contract, streams, action_prev_key(info['features']))
    own = {key: feature for key, feature in info['features'].items() if key not in LEROBOTS_OWN}
    return lines + feature_differences(own, wanted)


def describe_dataset(root: Path, contract: Contract, video: VideoChoice) -> None:
    """Store the contract and the conversion's settings in a data set."""
    (root / ABOUT / 'episodes').mkdir(parents=True, exist_ok=True)
    (root / OWN_CONTRACT).write_text(dump_contract(contract), encoding='utf-8')
    settings = {
        'format_version': FORMAT_VERSION,
        'action': contract.action.model_dump(mode='json'),
        'cameras': video.settings,
        'tactile': 'PNG in Parquet, lossless',
    }
    write_description(root / ABOUT / CONVERSION, settings)


def made(path: Path) -> Path:
    """Make the directory that a file goes into; return the file's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_description(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file of ours in a data set."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n', encoding='utf-8')


def own_video(root: Path) -> VideoChoice:
    """Return how the videos of a data set of ours are made.

    Raises:
        DatasetError: its files do not state it.
    """
    path = root / ABOUT / CONVERSION
    try:
        return VideoChoice.of_settings(read_json(path)['cameras'])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{path} does not state how videos are made ({error}). Restore it, or use another directory.'
        ) from error


def video_for(root: Path, asked: VideoChoice | None) -> VideoChoice:
    """Return how to make videos for the data set at `root`: its own way, else as asked, else by default.

    Raises:
        DatasetError: its own way is another than asked, or is not known.
    """
    if not is_dataset(root):
        return asked or VideoChoice()
    own = own_video(root)
    if asked not in (None, own):
        raise DatasetError(
            f'{root} holds video in {own}, asked for was {asked}. Ask for nothing to go '
            'on with its own, or use another directory.'
        )
    return own


def read_info(root: Path) -> dict[str, Any]:
    """Read meta/info.json of a LeRobot data set.

    Raises:
        DatasetError: there is no such data set, or its file is damaged.
    """
    check_present(root)
    return read_json(root / INFO)


def write_info(root: Path, info: dict[str, Any]) -> None:
    """Write meta/info.json as LeRobot does."""
    made(root / INFO).write_text(json.dumps(info, indent=4, ensure_ascii=False), encoding='utf-8')


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DatasetError: there is none, or it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(content, dict):
            raise ValueError('no JSON object')
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path} {pointer_fault(path) or f"cannot be read: {error}"}') from error
    return content


def data_file(root: Path, info: Mapping[str, Any], episode: Mapping[str, Any]) -> Path:
    """Return the file of an episode's rows; `episode` is its row in meta/episodes."""
    place = {f'{part}_index': episode[f'data/{part}_index'] for part in ('chunk', 'file')}
    return root / info['data_path'].format(**place)


def video_file(root: Path, info: Mapping[str, Any], key: str, episode: Mapping[str, Any]) -> Path:
    """Return the file with an episode's video of the column `key`, in v3.0 or v2.1.

    `episode` is its row in meta/episodes, or in v2.1's meta/episodes.jsonl.

    Raises:
        DatasetError: it would lie outside the data set.
    """
    if info.get('codebase_version') == EARLIER_VERSION:
        index = episode['episode_index']
        chunk = index // int(info.get('chunks_size', CHUNK_EPISODES))
        place = {'episode_chunk': chunk, 'episode_index': index}
    else:
        place = {f'{part}_index': episode[f'videos/{key}/{part}_index'] for part in ('chunk', 'file')}
    path = root / info['video_path'].format(video_key=key, **place)
    if not path.resolve().is_relative_to(root.resolve()):
        raise DatasetError(f'{root}: meta/info.json places videos outside the data set: {info["video_path"]}')
    return path


def video_keys(info: Mapping[str, Any]) -> list[str]:
    """Return the columns that are stored as video."""
    return [key for key, feature in info['features'].items() if feature['dtype'] == 'video']
