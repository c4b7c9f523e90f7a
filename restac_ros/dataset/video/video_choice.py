"""Chooses how a data set's camera images are compressed: one codec and quality for all its episodes.

The default is what LeRobot decodes fastest without visible loss. Measured on three real cameras, letterboxed
to 224 px, per frame on one core; `read` is LeRobot's with PyAV, one random frame or eight in a row:

    codec, quality              encode [ms]  read 1 [ms] read 8 [ms]  size [kB]  PSNR [dB]
    h264 12, key frames only    0.4          1.9        4.6          5.0        43.2 to 43.7
    h264 12, veryfast, GOP 2    1.0          2.1        5.2          3.4        43.1 to 44.2
    hevc 10                     3.4          3.3        7.5          2.5        43.0 to 44.5
    av1 10                      4.2          2.8        7.0          2.2        42.4 to 44.2
    av1 30, LeRobot's default   3.3          2.4        5.8          0.9        40.0 to 42.6

The chroma's half resolution bounds the PSNR.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from restac_ros.dataset.errors import DatasetError

Codec = Literal['h264', 'hevc', 'av1']

# By codec, LeRobot's settings (RGBEncoderConfig). A group of pictures is short, as training reads at random.
# x264's slower presets look ahead (macroblock tree), and then not every run gives the same bytes.
_SETTINGS: dict[Codec, dict[str, Any]] = {
    'h264': {'vcodec': 'h264', 'g': 1, 'preset': 'ultrafast', 'fast_decode': 1},
    # x265 counts the machine's cores unless it is given a number of threads.
    'hevc': {
        'vcodec': 'hevc',
        'g': 2,
        'preset': 'ultrafast',
        'fast_decode': 1,
        'extra_options': {'x265-params': 'log-level=error:pools=none:frame-threads=1'},
    },
    'av1': {'vcodec': 'libsvtav1', 'g': 2, 'preset': 10, 'fast_decode': 2},
}
_VISUALLY_LOSSLESS = {'h264': 12, 'hevc': 10, 'av1': 10}
_WORST = {'h264': 51, 'hevc': 51, 'av1': 63}


@dataclass(frozen=True)
class VideoChoice:
    """A codec, and its quality as a constant rate factor (CRF) on the codec's own scale: 0 is best.

    None stands for no visible loss.

    Raises:
        DatasetError: no such codec, or a quality outside its scale.
    """

    codec: Codec = 'h264'
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise DatasetError(f'video codec {self.codec!r}; expected one of {", ".join(get_args(Codec))}')
        quality = _VISUALLY_LOSSLESS[self.codec] if self.quality is None else self.quality
        object.__setattr__(self, 'quality', quality)
        if not 0 <= quality <= _WORST[self.codec]:
            raise DatasetError(
                f'video quality {quality}; expected 0 (best) to {_WORST[self.codec]}, '
                f'the scale of {self.codec}'
            )

    def __str__(self) -> str:
        return f'{self.codec} at quality {self.quality}'

    @property
    def settings(self) -> dict[str, Any]:
        """Return arguments of LeRobot's RGBEncoderConfig, as a data set's description stores them."""
        return {**_SETTINGS[self.codec], 'pix_fmt': 'yuv420p', 'crf': self.quality}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> 'VideoChoice':
        """Return the choice that made these settings; raise DatasetError when none did."""
        codecs = {_SETTINGS[codec]['vcodec']: codec for codec in get_args(Codec)}
        vcodec, crf = settings.get('vcodec'), settings.get('crf')
        if vcodec not in codecs or not isinstance(crf, int):
            raise DatasetError(f'video settings {dict(settings)} are not of this package')
        return cls(codecs[vcodec], crf)


def asked_video(codec: Codec | None, quality: int | None) -> VideoChoice | None:
    """Return the choice where codec or quality is given; None, for the data set's own, where neither is."""
    return None if codec is None and quality is None else VideoChoice(codec or VideoChoice.codec, quality)
