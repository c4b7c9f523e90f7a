"""Image sizes: the letterbox against openpi's own output, the tactile image by area."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from restac_ros.framing.resize import letterbox, resize_tactile


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(image: np.ndarray, size: int) -> np.ndarray:
    """openpi's rule, written with Pillow's own paste."""
    picture = Image.fromarray(image)
    ratio = max(picture.width / size, picture.height / size)
    fitted = picture.resize((int(picture.width / ratio), int(picture.height / ratio)), Image.BILINEAR)
    canvas = Image.new('RGB', (size, size), 0)
    canvas.paste(fitted, (int((size - fitted.width) / 2), int((size - fitted.height) / 2)))
    return np.asarray(canvas)


def test_equals_openpi_on_real_camera_images(golden_dir, shared_dir):
    """Frames of the real videos against the views that openpi's client made of the same frames."""
    av = pytest.importorskip('av')
    with np.load(golden_dir / 'unit_align_io.npz', allow_pickle=False) as file:
        views, meta = file['in/views_u8'], json.loads(str(file['meta/json']))
    wanted = [source['frame'] for source in meta['source']]
    for slot, camera in enumerate(('main', 'handeye', 'side')):
        with av.open(shared_dir / 'data' / 'real_streams' / 'cameras' / f'{camera}.mp4') as video:
            found = {
                index: frame.to_ndarray(format='rgb24')
                for index, frame in enumerate(video.decode(video=0))
                if index in wanted
            }
        for row, index in enumerate(wanted):
            np.testing.assert_array_equal(letterbox(found[index]), views[row, slot])


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (720, 1280), (100, 100), (120, 160), (223, 225)])
def test_equals_pillow(shape):
    np.testing.assert_array_equal(letterbox(noise(*shape)), reference(noise(*shape), 224))


@settings(max_examples=40, deadline=None)
@given(height=st.integers(8, 300), width=st.integers(8, 300), size=st.sampled_from([56, 224]))
def test_equals_pillow_at_any_size(height, width, size):
    image = noise(height, width, height * width)
    np.testing.assert_array_equal(letterbox(image, size), reference(image, size))


def test_fits_without_distortion_centred_on_black():
    boxed = letterbox(np.full((480, 640, 3), 200, np.uint8))
    assert boxed.shape == (224, 224, 3)
    assert (boxed[28:196] == 200).all()
    assert (boxed[:28] == 0).all()
    assert (boxed[196:] == 0).all()


def test_right_size_is_left_alone():
    image = noise(224, 224)
    np.testing.assert_array_equal(letterbox(image), image)
    tactile = noise(128, 160)
    np.testing.assert_array_equal(resize_tactile(tactile), tactile)


def test_extreme_shapes_have_a_result():
    assert letterbox(noise(1, 8000)).shape == (224, 224, 3)


def test_row_padded_views_are_read_in_place():
    padded = noise(48, 70)[:, :64]
    np.testing.assert_array_equal(letterbox(padded), letterbox(padded.copy()))
    np.testing.assert_array_equal(resize_tactile(padded), resize_tactile(padded.copy()))


def test_tactile_is_averaged_over_its_whole_view():
    image = noise(256, 320)
    blocks = image.reshape(128, 2, 160, 2, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(resize_tactile(image) - blocks).max() <= 0.5
    half = np.zeros((240, 320, 3), np.uint8)
    half[:, 160:] = 255
    resized = resize_tactile(half)
    assert (resized[:, :80] == 0).all()
    assert (resized[:, 80:] == 255).all()
