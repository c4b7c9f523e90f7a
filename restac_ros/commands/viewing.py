"""`restac-ros view`: a picture of one moment, or the whole run as a video or in a browser."""

import tempfile
import time
from pathlib import Path

from restac_ros.commands.data import View
from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import counted, counting, print_line
from restac_ros.contract.load import load_contract
from restac_ros.dataset.dataset_files import is_dataset
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.recording_kind import no_recording
from restac_ros.view.errors import ViewError
from restac_ros.view.rerun.viewer import (
    LOCALHOST,
    ViewerPlace,
    ViewerServer,
    browser_problem,
    memory_of,
    require_rerun,
)

_POLL_S = 0.2


def draw_moment(asked: View) -> int:
    """Draw one moment of recordings as a picture; return the exit status."""
    from restac_ros.view.render import render

    contract = None if asked.contract is None else load_contract(asked.contract)
    asked.png.parent.mkdir(parents=True, exist_ok=True)
    print(render(_recordings(asked), asked.png, contract, asked.at))
    return 0


def draw_video(asked: View, to: Path) -> int:
    """Draw all of recordings as a video; return the exit status."""
    from restac_ros.view.run_video import write_run_video

    contract = None if asked.contract is None else load_contract(asked.contract)
    with counting('drawing') as on_message:
        made = write_run_video(_recordings(asked), absolute(to), contract, on_message)
    print_line(f'{made.video}: {counted(made.frames, "frame")}; the last one: {made.picture}')
    return 0


def show_in_browser(asked: View) -> int:
    """Convert recordings or an episode for Rerun, and serve them until Ctrl-C; return the exit status.

    Raises:
        ViewError: Rerun is not installed, or a data set is given together with other paths.
    """
    require_rerun()
    if asked.rrd is not None:
        asked.rrd.parent.mkdir(parents=True, exist_ok=True)
        print_line(f'{asked.rrd}: {_convert(asked, asked.rrd)}; open it with: rerun {asked.rrd}')
        return 0
    with tempfile.TemporaryDirectory(prefix='restac_ros_') as folder:
        file = Path(folder) / 'run.rrd'
        print_line(_convert(asked, file))
        place = ViewerPlace(LOCALHOST, asked.port, asked.port + 1)
        with ViewerServer(place, memory_of([file]), [file]) as server:
            size = f'{file.stat().st_size / 1e6:.0f} MB'
            print_line(f'open {server.place.page}    ({size}; Ctrl-C ends it)')
            if problem := browser_problem(file):
                print_line(problem)
            while server.ended is None:
                time.sleep(_POLL_S)
            return server.ended


def _convert(asked: View, to: Path) -> str:
    """Write the file `to`, and describe what is in it."""
    from restac_ros.view.rerun.episodes import log_episode
    from restac_ros.view.rerun.recordings import log_recordings

    sets = [path for path in asked.recordings if is_dataset(dataset_place(path))]
    if sets and len(asked.recordings) > 1:
        raise ViewError(f'{sets[0]} is a data set: it is shown alone, an episode at a time (--episode N)')
    contract = None if asked.contract is None else load_contract(asked.contract)
    if sets:
        root = dataset_place(absolute(sets[0]))
        with counting('converting') as on_frame:
            frames = log_episode(root, asked.episode, to, on_frame, contract)
        return f'{root}, episode {asked.episode}: {counted(frames, "frame")}'
    recordings = _recordings(asked)
    with counting('converting') as on_message:
        messages = log_recordings(recordings, to, contract, on_message)
    return f'{", ".join(path.name for path in recordings)}: {counted(messages, "message")}'


def _recordings(asked: View) -> list[Path]:
    """The paths that are recordings; of several, the others are named and left out."""
    found = []
    for path in asked.recordings:
        if reason := no_recording(path) if len(asked.recordings) > 1 else '':
            print_line(f'skipped: {path} is {reason}')
        else:
            found.append(path)
    return found
