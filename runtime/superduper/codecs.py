"""Ready-made codecs: how a Python value becomes bytes and back.

==========  =========================================  ==========================  ====================
codec       a value is                                 stored as                   media type
==========  =========================================  ==========================  ====================
``pickle``  any object                                 pickle, protocol 4          application/x-python-pickle
``json``    what JSON can say                          UTF-8 JSON                  application/json
``text``    ``str``                                    UTF-8                       text/plain
``bytes``   ``bytes``, ``bytearray``, ``memoryview``   itself                      application/octet-stream
``numpy``   ``numpy.ndarray`` or numbers               the ``.npy`` format         application/x-npy
``image``   ``PIL.Image``, or an array (H, W[, 3|4])   PNG, or ``info['format']``  image/png …
``file``    a path to a file or folder                 a tree of the store         –
==========  =========================================  ==========================  ====================
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from superduper.code import PROTOCOL
from superduper.errors import ConfigError, MissingExtra, nearest

Info = Mapping[str, Any] | None
Coder = Callable[[Any, Info], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """A pair of functions ``(value, info)``. ``native`` is the column type that holds the value itself, if one does."""

    name: str
    encode: Coder
    decode: Coder
    media_type: str | None
    native: str | None = None


def get(name: str) -> Codec:
    """The codec of that name. Raises ConfigError, naming the nearest."""
    try:
        return CODECS[name]
    except KeyError:
        raise ConfigError(f"no codec {name!r}{nearest(name, CODECS)} (known: {', '.join(CODECS)})") from None


def check_info(name: str, info: Info) -> None:
    """Raises ConfigError where the codec of that name cannot use this ``info``; MissingExtra."""
    if name == "image" and info is not None and "format" in info:
        image = _pillow()
        image.init()
        given = str(info["format"])
        if given.upper() not in image.SAVE:
            known = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
            raise ConfigError(
                f"no image format {given!r}{nearest(given.upper(), image.SAVE)} (formats: {', '.join(known)}, "
                "and what else Pillow writes)"
            )


def _pickle(value: Any, _: Info) -> bytes:
    return pickle.dumps(value, protocol=PROTOCOL)


def _unpickle(data: bytes, _: Info) -> Any:
    from superduper.config import CFG
    from superduper.errors import DecodeError

    if not CFG.allow_pickle:
        raise DecodeError("a pickle is not loaded while allow_pickle is off; use another codec or set allow_pickle")
    return pickle.loads(data)


def _json(value: Any, _: Info) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _text(value: Any, _: Info) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the text codec takes a str, not {type(value).__name__}")
    return value.encode()


def _bytes(value: Any, _: Info) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"the bytes codec takes bytes, not {type(value).__name__}")
    return bytes(value)


def _array(value: Any, _: Info) -> bytes:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtra("numpy", "numpy", "the numpy codec") from error
    array = np.asanyarray(value)
    if array is not value and array.dtype.kind not in "biufc":
        raise TypeError(f"the numpy codec takes an array or numbers, not {type(value).__name__} {value!r:.60}")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _load_array(data: bytes, _: Info) -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtra("numpy", "numpy", "the numpy codec") from error
    return np.load(io.BytesIO(data), allow_pickle=False)


def shape(value: Any) -> tuple[int, ...]:
    """The lengths of an array, image or nested list in each dimension; ``()`` of a single value."""
    given = getattr(value, "shape", None)
    if given is None:
        try:
            import numpy as np
        except ImportError as error:
            raise MissingExtra("numpy", "numpy", "a DataType with a shape") from error
        given = np.shape(value)
    return tuple(int(length) for length in given)


def _path(value: Any, _: Info) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"the file codec takes a path, not {type(value).__name__}")
    return os.fspath(value)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("Pillow", "image", "the image codec") from error
    return Image


def _image(value: Any, info: Info) -> bytes:
    image = _pillow()
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = image.open(io.BytesIO(value))
    elif not isinstance(value, image.Image):
        value = image.fromarray(value)
    options = {"format": "PNG", **(info or {})}
    buffer = io.BytesIO()
    value.save(buffer, **options)
    return buffer.getvalue()


def _load_image(data: bytes, _: Info) -> Any:
    image = _pillow().open(io.BytesIO(data))
    image.load()
    return image


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("pickle", _pickle, _unpickle, "application/x-python-pickle"),
        Codec("json", _json, lambda data, _: json.loads(data), "application/json", native="json"),
        Codec("text", _text, lambda data, _: data.decode(), "text/plain", native="str"),
        Codec("bytes", _bytes, lambda data, _: data, "application/octet-stream", native="bytes"),
        Codec("numpy", _array, _load_array, "application/x-npy"),
        Codec("image", _image, _load_image, None),
        Codec("file", _path, lambda path, _: path, None),
    )
}
