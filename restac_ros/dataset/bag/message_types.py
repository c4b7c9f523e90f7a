"""The message types that recordings may hold: ROS 2 Jazzy's, and this package's own from its .msg files."""

from functools import cache
from pathlib import Path
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from restac_ros.dataset.errors import BagError

_PACKAGE = 'restac_ros'


def message_files() -> list[Path]:
    """Return the .msg files of this package: beside its modules in the source tree, or as installed.

    Raises:
        BagError: neither place holds any.
    """
    package = next(folder for folder in Path(__file__).resolve().parents if folder.name == _PACKAGE)
    # <source>/restac_ros/ or <prefix>/lib/python3.12/site-packages/restac_ros/
    places = [
        package.parent / 'msg',
        *(prefix / 'share' / _PACKAGE / 'msg' for prefix in package.parents[3:4]),
    ]
    for place in places:
        if files := sorted(place.glob('*.msg')):
            return files
    looked = ' and '.join(str(place) for place in places)
    raise BagError(f'no message definitions of {_PACKAGE} in {looked}: install the package whole')


@cache
def typestore() -> Typestore:
    """Return a store that reads and writes CDR of all these types, without ROS."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in message_files():
        name = f'{_PACKAGE}/msg/{file.stem}'
        store.register(get_types_from_msg(file.read_text(encoding='utf-8'), name))
    return store


def deserialize(cdr: bytes | memoryview, kind: str) -> Any:
    """Decode a message of type `kind`.

    Raises:
        BagError: the bytes are no such message.
    """
    try:
        return typestore().deserialize_cdr(memoryview(cdr), kind)
    except (SerdeError, IndexError) as error:
        raise BagError(f'{len(cdr)} bytes are no readable {kind}: {error}') from error
