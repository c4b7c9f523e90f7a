"""Several data sets become one: every episode is appended as a conversion would, no video is encoded anew."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from restac_ros.dataset.dataset_files import check_appendable, dataset_contract, streams_of
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.dataset_tables import check_unmoved, episode_rows
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.export_v21 import OnEpisode
from restac_ros.dataset.merge import append_episode, begin_like, check_fits, episode_sources
from restac_ros.dataset.repair.whole import check_whole
from restac_ros.dataset.transaction import shards_lock, transaction
from restac_ros.dataset.writer import REWRITTEN


def join_datasets(sources: Sequence[Path], target: Path, on_episode: OnEpisode | None = None) -> int:
    """Append all episodes of `sources`, in their order, to the data set at `target`; return how many it has.

    `target` is created if need be; the sources stay as they are. Whatever stops it leaves `target` as it was.

    Raises:
        DatasetError: a source is broken, does not fit, or changes meanwhile; two hold the same recording.
    """
    target, sources = dataset_place(target), [dataset_place(source) for source in sources]
    if target in sources or len(set(sources)) < len(sources):
        raise DatasetError('merge needs different data sets, and a target besides them')
    for source in sources:
        _check_source(source)
    listed = {source: episode_rows(source) for source in sources}
    episodes = {source: episode_sources(source) for source in sources}
    total, done, index = sum(map(len, episodes.values())), 0, -1
    with shards_lock(target), transaction(target, REWRITTEN.__contains__) as staging:
        _check_recordings({source: source for source in sources} | {target: staging})
        for source in sources:
            if not staging.exists():
                begin_like(source, staging)
            check_fits(target, staging, source)
            for episode in episodes[source]:
                done += 1
                index = append_episode(target, staging, episode)
                if on_episode:
                    on_episode(done, total)
            check_unmoved(source, listed[source])
    return index + 1


def _check_source(source: Path) -> None:
    contract = dataset_contract(source)
    check_whole(source)
    check_appendable(source, contract, streams_of(source, contract))


def _check_recordings(places: Mapping[Path, Path]) -> None:
    """Refuse a recording that is in two of the data sets, which are read at the places given."""
    seen: dict[str, str] = {}
    for root, place in places.items():
        for identity, index in converted_recordings(place).items():
            here = f'episode {index} of {root}'
            if identity in seen:
                raise DatasetError(
                    f'{seen[identity]} and {here} are the same recording. Take one out: `restac-ros delete`'
                )
            seen[identity] = here
