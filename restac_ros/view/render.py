"""Draws one moment of recordings as a picture: `restac-ros view`."""

from collections.abc import Sequence
from pathlib import Path

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.journal import read_notes
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import scene_at
from restac_ros.view.preview import save_preview
from restac_ros.view.scene import SceneOptions


def render(
    paths: Sequence[Path],
    png: Path,
    contract: Contract | None = None,
    at_s: float | None = None,
    options: SceneOptions | None = None,
) -> Path:
    """Draw what rviz would show `at_s` after the recordings' beginning into `png`.

    None: the last moment at which gate, touch and pose still arrived.
    `paths` is a bag that holds everything, or a journal and the session log of its run. Without a `contract`
    the one inside the recordings is used.

    Raises:
        BagError: a recording cannot be read.
        ViewError: nothing in them can be shown, they are of different runs, or there is no contract.
        DecodeError: a message contradicts the contract.
    """
    bags, contract, start_ns = open_run(paths, contract)
    time_ns = None if at_s is None else start_ns + round(at_s * 1e9)
    scene, end_ns = scene_at(contract, bags, time_ns, options or SceneOptions())
    names = ', '.join(path.name for path in paths)
    return save_preview(
        png,
        scene.shapes(end_ns),
        scene.tactile_image(end_ns) if scene.has_touch else None,
        scene.chart_image(end_ns),
        contract.robot.base_frame,
        f'{names}, {(end_ns - start_ns) * 1e-9:.2f} s from the beginning',
    )


def open_run(paths: Sequence[Path], contract: Contract | None) -> tuple[list[Bag], Contract, int]:
    """Open the recordings of one run; return them, `contract` or the one inside, and their begin, ns.

    Raises:
        BagError: a recording cannot be read.
        ViewError: there is nothing in them, they are of different runs, or there is no contract.
    """
    bags = [open_bag(path) for path in paths]
    bounds = sorted((bag.bounds_ns, bag.path) for bag in bags if bag.bounds_ns)
    if not bounds:
        raise ViewError(f'{", ".join(str(path) for path in paths) or "no bag"}: there is no message in it')
    _check_overlap(bounds)
    return bags, contract or _contract_inside(bags), bounds[0][0][0]


def _check_overlap(bounds: Sequence[tuple[tuple[int, int], Path]]) -> None:
    """Refuse recordings, sorted by their (first, last) log time, with a time between them."""
    (_, end_ns), before = bounds[0]
    for (start_ns, stop_ns), path in bounds[1:]:
        if start_ns > end_ns:
            raise ViewError(
                f'{path} begins {(start_ns - end_ns) * 1e-9:.1f} s after the end of {before}: they are of '
                'different runs. Give the journal and the log of one run, as `restac-ros up --record --log` '
                'writes them together.'
            )
        if stop_ns > end_ns:
            end_ns, before = stop_ns, path


def _contract_inside(bags: Sequence[Bag]) -> Contract:
    for bag in bags:
        if text := read_notes(bag).contract_text:
            return parse_contract(text, source=str(bag.path))
    raise ViewError('no contract inside the recordings: name the one they were made with')
