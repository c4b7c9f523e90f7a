"""What is refused says what it is: another clock, a stamp that stands still, images of another kind."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.storage import BagMessage
from restac_ros.dataset.errors import ConversionError
from restac_ros.dataset.quality.quality import assess
from restac_ros.dataset.survey import survey
from restac_ros.framing.decode import decode_image
from restac_ros.framing.errors import DecodeError, UnsupportedError

START_NS = 1_760_000_000_000_000_000
END_NS = START_NS + 2 * 10**9
STORE = get_typestore(Stores.ROS2_JAZZY)
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def stamped(message: BagMessage, stamp_ns: int) -> BagMessage:
    """The message with another stamp."""
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    stamp = seconds.to_bytes(4, 'little') + nanoseconds.to_bytes(4, 'little')
    return message._replace(cdr=message.cdr[:4] + stamp + message.cdr[12:])


def findings(path: Path, contract: Contract, stream: str) -> dict[str, str]:
    [episode] = assess(path, contract).episodes
    return {found.kind: found.text for found in episode.findings if found.stream == stream}


def test_a_camera_that_stamps_by_its_uptime_is_named_another_clock(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    topic, uptime_ns = contract.streams['main'].topic, START_NS - 5000 * 10**9
    messages = [stamped(m, m.log_time_ns - uptime_ns) if m.topic == topic else m for m in recording]
    path = write_bag(tmp_path / 'bag', messages)
    reasons = survey(open_bag(path), contract, START_NS, END_NS).reasons[-1]
    [said] = [reason for reason in reasons if reason.startswith('main:')]
    assert said.startswith('main: stale: another clock: stamped 5002 s after its zero, received 2025-10-09')
    assert 'set the time domain of the driver, or use_sim_time' in said
    found = findings(path, contract, 'main')
    assert 'another clock: stamped 5000 s after its zero' in found['another-clock']
    assert 'gap' not in found


def test_stamps_of_today_with_receipts_in_simulated_time_are_named_another_clock(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    shifted = [m._replace(log_time_ns=m.log_time_ns - START_NS + 30 * 10**9) for m in recording]
    bag = open_bag(write_bag(tmp_path / 'bag', shifted))
    reasons = survey(bag, contract, 30 * 10**9, 32 * 10**9).reasons[-1]
    assert any('future: another clock: stamped 2025-10-09' in reason for reason in reasons)


def test_a_stamp_that_never_changes_is_named(
    tmp_path: Path, contract: Contract, recording: list[BagMessage], write_bag: Callable[..., Path]
) -> None:
    topic = contract.streams['handeye'].topic
    messages = [stamped(m, START_NS) if m.topic == topic else m for m in recording]
    path = write_bag(tmp_path / 'bag', messages)
    with pytest.raises(ConversionError, match='handeye: 60 messages, one stamp: the driver does not set it'):
        survey(open_bag(path), contract, START_NS, END_NS)
    assert findings(path, contract, 'handeye')['one-stamp'].startswith('handeye: 60 messages, one stamp')


def compressed(contract_values: dict) -> Contract:
    values = yaml.safe_load(yaml.safe_dump(contract_values))
    main = values['streams']['main']
    main['type'] = COMPRESSED
    main.pop('encoding')
    return parse_contract(yaml.safe_dump(values))


def image_message(content: bytes, stated: str, stamp_ns: int) -> bytes:
    types = STORE.types
    stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
    header = types['std_msgs/msg/Header'](stamp, '')
    message = types[COMPRESSED](header, stated, np.frombuffer(content, np.uint8))
    return bytes(STORE.serialize_cdr(message, COMPRESSED))


def picture(mode: str, file_format: str, shade: int) -> bytes:
    size = (16, 12)
    out = io.BytesIO()
    if mode == 'I;16':
        Image.fromarray(np.full(size[::-1], shade, np.uint16)).save(out, file_format)
    else:
        Image.new('RGB', size, (shade, 20, 30)).convert(mode).save(out, file_format)
    return out.getvalue()


@pytest.mark.parametrize(
    ('mode', 'file_format', 'stated', 'words'),
    [
        ('RGB', 'WEBP', 'webp', 'a WebP image; expected JPEG or PNG'),
        ('I;16', 'PNG', '16UC1; png compressed ', 'a depth image; expected a colour image'),
        ('I;16', 'PNG', '16UC1; compressedDepth png', 'a depth image; expected a colour image'),
        ('I;16', 'PNG', 'png', '(16 bit); expected 8-bit colour or grey'),
        ('CMYK', 'JPEG', 'jpeg', '(print colours); expected 8-bit colour or grey'),
        ('P', 'PNG', 'png', '(a palette); expected 8-bit colour or grey'),
        ('RGB', 'BMP', 'bmp', 'no JPEG or PNG: it begins with 42 4d'),
    ],
)
def test_images_of_another_kind_are_named_with_the_same_words_each_time(
    mode: str, file_format: str, stated: str, words: str, contract_values: dict
) -> None:
    spec = compressed(contract_values).streams['main']
    said = set()
    for shade in (1, 200):
        with pytest.raises(UnsupportedError) as caught:
            decode_image(spec, image_message(picture(mode, file_format, shade), stated, START_NS))
        said.add(str(caught.value))
    assert len(said) == 1
    assert words in said.pop()


def test_a_torn_image_is_no_other_kind(contract_values: dict) -> None:
    spec = compressed(contract_values).streams['main']
    with pytest.raises(DecodeError, match='not a whole JPEG or PNG') as caught:
        decode_image(spec, image_message(picture('RGB', 'JPEG', 9)[:-60], 'jpeg', START_NS))
    assert not isinstance(caught.value, UnsupportedError)


def test_images_of_another_kind_are_refused_at_the_first_ones(
    tmp_path: Path,
    contract: Contract,
    contract_values: dict,
    recording: list[BagMessage],
    write_bag: Callable[..., Path],
) -> None:
    topic = contract.streams['main'].topic
    webp = picture('RGB', 'WEBP', 9)
    messages = [
        m._replace(type=COMPRESSED, cdr=image_message(webp, 'webp', m.log_time_ns - 10**7))
        if m.topic == topic
        else m
        for m in recording
    ]
    bag = open_bag(write_bag(tmp_path / 'bag', messages))
    asked = []
    whole = bag.messages

    def messages_of(topics, start_ns=0, stop_ns=END_NS, head_bytes=None):
        asked.append(head_bytes)
        return whole(topics, start_ns, stop_ns, head_bytes)

    bag.messages = messages_of
    with pytest.raises(ConversionError, match=r'main: .*a WebP image; expected JPEG or PNG'):
        survey(bag, compressed(contract_values), START_NS, END_NS)
    assert set(asked) == {None}, 'the recording was surveyed'


def test_a_depth_image_is_named(contract: Contract, recording: list[BagMessage]) -> None:
    spec = contract.streams['main'].model_copy(update={'encoding': None})
    cdr = next(m.cdr for m in recording if m.topic == spec.topic)
    message = STORE.deserialize_cdr(cdr, 'sensor_msgs/msg/Image')
    depth = replace(message, encoding='16UC1')
    with pytest.raises(DecodeError, match="encoding '16UC1', a depth image; expected one of rgb8"):
        decode_image(spec, bytes(STORE.serialize_cdr(depth, 'sensor_msgs/msg/Image')))
