"""Files of text as bytes: unpacked, without a byte order mark; and which byte of one is no UTF-8."""

import gzip
import io
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from rankstream.events.arrivals import LogError
from rankstream.events.files import compression

NOT_WHOLE = (OSError, EOFError, zlib.error)  # what reading a packed file that is cut or damaged raises
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file of text for reading, unpacked and without its byte order mark.

    Raises ``LogError`` for UTF-16, and one of ``NOT_WHOLE`` here or in reading for what can't be unpacked.
    """
    packed = compression(path)
    if packed == "gzip":
        file = cast(IO[bytes], gzip.open(path))  # noqa: SIM115  # handed on open
    elif packed == "zstd":
        file = _unpacked_zstd(path)
    else:
        file = path.open("rb")
    start = cast(io.BufferedReader, file).peek(len(UTF8_BOM))
    if start.startswith(UTF16_BOMS):
        raise LogError(f"{path} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}")
    if start.startswith(UTF8_BOM):
        file.read(len(UTF8_BOM))
    return file


def _unpacked_zstd(path: Path) -> IO[bytes]:
    try:
        from pyarrow import input_stream
    except ImportError as exc:
        raise LogError(f'unpacking {path} needs pyarrow: pip install "rankstream[train]", or zstd -d {path}') from exc
    return cast(IO[bytes], io.BufferedReader(input_stream(str(path), compression="zstd")))


def why_not_utf8(path: Path) -> str | None:
    """Return what of a file is no UTF-8, and how it is converted; None if all of it is, as far as it can be read."""
    at = 0
    with suppress(*NOT_WHOLE), open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as exc:
                return (
                    f"{path} is no UTF-8: line {number:,} has the byte 0x{line[exc.start]:02x} (byte "
                    f"{at + exc.start:,} of the text); if it is Latin-1, convert it: "
                    f"iconv -f ISO-8859-1 -t UTF-8 {path.name} > utf8-{path.name}"
                )
            at += len(line)
    return None


def not_utf8(text: str) -> bool:
    """Return whether a text holds bytes that were no UTF-8."""
    return not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text)
