"""The page in a real browser: it shows what was logged."""

import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rerun', reason='the extra view is not installed')

from headless_browser import HeadlessBrowser, browser_program
from node_process import poll_until
from restac_ros.contract.schema import Contract
from restac_ros.view.rerun.recordings import new_recording
from restac_ros.view.rerun.sink import RerunSink
from restac_ros.view.rerun.viewer import LOCALHOST, ViewerPlace, ViewerServer, memory_of
from restac_ros.view.scene import SceneOptions

S = 10**9
SEEN = (240, 30, 200)  # a colour that the page itself has nowhere


@pytest.fixture
def recorded(contract: Contract, tmp_path: Path) -> Path:
    file = tmp_path / 'run.rrd'
    recording = new_recording('test', contract)
    recording.save(file)
    sink = RerunSink(recording, contract, 'gelsight_left', SceneOptions(reference_frames=2), S)
    for tick in range(20):
        sink.add_image('main', np.full((240, 320, 3), SEEN, np.uint8), tick * S // 10)
    recording.flush()
    recording.disconnect()
    return file


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return page.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.mark.skipif(browser_program() is None, reason='no Chromium here: `apt-get install chromium`')
def test_a_browser_draws_the_camera_that_was_logged(
    recorded: Path, place: ViewerPlace, tmp_path: Path
) -> None:
    def share() -> float:
        """Of the page's pixels, those that have the camera's colour."""
        return float((np.abs(browser.picture().astype(int) - SEEN).max(axis=-1) < 12).mean())

    with (
        ViewerServer(place, memory_of([recorded]), [recorded]),
        HeadlessBrowser(browser_program(), tmp_path / 'profile') as browser,
    ):
        poll_until(lambda: answers(f'http://{LOCALHOST}:{place.web_port}/'), 'the server answers')
        browser.open(f'{place.page}&renderer=webgl&hide_welcome_screen')
        poll_until(lambda: share() > 0.01, 'the page shows the camera')
