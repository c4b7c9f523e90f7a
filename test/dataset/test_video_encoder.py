"""The video encoder when the disk fails under it: it says so, and nobody waits for it for ever."""

from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import pytest

from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.lerobot_access import RGBEncoderConfig
from restac_ros.dataset.video import video_encoder
from restac_ros.dataset.video.video_encoder import VideoEncoder

FRAME = np.zeros((48, 64, 3), np.uint8)
OPEN = av.open


class _FullAtTheEnd:
    """A container on a disk that has room for everything but the end of the file."""

    def __init__(self, path: str, mode: str) -> None:
        self._container = OPEN(path, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: Exception | None, trace: TracebackType | None) -> None:
        self._container.close()
        raise OSError(28, 'No space left on device')

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('cancelled', [False, True])
def test_a_disk_that_is_full_at_the_end_of_a_video(
    cancelled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_encoder.av, 'open', _FullAtTheEnd)
    encoder = VideoEncoder(10, RGBEncoderConfig(vcodec='h264'))
    encoder.start_episode(['camera'], tmp_path)
    for _ in range(5):
        encoder.feed_frame('camera', FRAME)
    if cancelled:
        encoder.cancel_episode()
    else:
        with pytest.raises(DatasetError, match='No space left'):
            encoder.finish_episode()
    encoder.close()
