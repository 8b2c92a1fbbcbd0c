"""A gzip text file as blocks of whole lines, decompressed once, in bounded memory, and verified to its last byte.

Length and checksum of every member, what follows the last one, the ratio of text to file, and the length of a line
are all checked here, because readers differ: some stop after the first member, some forgive zeros at the end, and all
of them would unpack a bomb. Not here: what the lines mean (``dataset_file.py``).
Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from zlib_ng import zlib_ng

BLOCK_BYTES = 2**20  # fits a core's cache; and the longest line, because a block holds at least one line's end
READ_BYTES = 2**16
MAX_RATIO = 200  # market data compresses 5 to 40 times, a bomb a thousand
RATIO_FROM_BYTES = 2**20  # of text: below it a ratio says nothing and harms nobody
GZIP_WINDOW = 31  # zlib's word for: one gzip member, its checksum and its length checked
BOM = b"\xef\xbb\xbf"
MAGIC = b"\x1f\x8b"
FETCH_AGAIN = "fetch it again; when it comes the same, ask the vendor"


class DamagedFile(ValueError):
    """The file or answer cannot be trusted as a whole; the message begins with the fault's code and names the fix."""


def damaged(code: str, what: str, said: object, fix: str = FETCH_AGAIN) -> DamagedFile:
    """Return the error of a file or answer ``what`` that has the fault ``code``."""
    return DamagedFile(f"{code}: {what}: {said}: {fix}")


def blocks(path: Path, repaired: Counter[str]) -> Iterator[bytes]:
    r"""Yield the text in blocks of whole lines, each ended by ``\n``; the next one is unpacked in the meantime.

    ``repaired`` counts what was mended: bytes of zero padding, lines ended as Windows does, a byte-order mark, a last
    line without its end.

    Raises
    ------
    DamagedFile
        gz_truncated, gz_crc, gz_corrupt, gz_trailing, gz_nested, ratio, empty (0 bytes), content_type, encoding,
        line_too_long.
    """
    made = _lines(path, repaired)
    with ThreadPoolExecutor(1) as unpacker:
        following = unpacker.submit(next, made, None)
        while (block := following.result()) is not None:
            following = unpacker.submit(next, made, None)
            yield block


def _lines(path: Path, repaired: Counter[str]) -> Iterator[bytes]:
    rest, is_first = b"", True
    for piece in _texts(path, repaired):
        text = piece
        if is_first:
            if text.startswith(MAGIC):
                raise damaged("gz_nested", path.name, "a gzip file lies inside the gzip file")
            refuse_other_content(text, path.name)
            repaired["byte-order marks"] += text.startswith(BOM)
            text, is_first = text.removeprefix(BOM), False
        end = text.rfind(b"\n") + 1
        if end:
            yield _unix(b"".join((rest, memoryview(text)[:end])), repaired)
            rest = text[end:]
        else:
            rest += text
        if len(rest) > BLOCK_BYTES:
            raise damaged("line_too_long", path.name, f"a line is longer than {BLOCK_BYTES:,} bytes")
    if rest:
        repaired["last line without its end"] += 1
        yield _unix(rest + b"\n", repaired)


def _unix(block: bytes, repaired: Counter[str]) -> bytes:
    if b"\r" not in block:
        return block
    repaired["lines ended as Windows does"] += block.count(b"\r\n")
    return block.replace(b"\r\n", b"\n")


def refuse_other_content(head: bytes, what: str, fix: str = FETCH_AGAIN) -> None:
    """Refuse what is plainly no table of text, by its first bytes.

    Raises
    ------
    DamagedFile
        encoding (UTF-16), content_type (an HTML page, a JSON document, a zip archive).
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise damaged("encoding", what, "it is written in UTF-16, not in UTF-8", "write it in UTF-8")
    kinds = {b"<": "a page of HTML or XML", b"{": "a JSON document", b"[": "a JSON document", b"PK\x03\x04": "a zip"}
    for mark, kind in kinds.items():
        if head.lstrip().startswith(mark):
            shown = head[:80].decode("ascii", "backslashreplace")
            raise damaged("content_type", what, f"it is {kind}, not the file: {shown!r}", fix)


def _texts(path: Path, repaired: Counter[str]) -> Iterator[bytes]:
    # Pieces of at most BLOCK_BYTES, member after member, to the end of the file.
    with path.open("rb") as file:
        waiting = file.read(READ_BYTES)
        if not waiting:
            raise damaged("empty", path.name, "it has 0 bytes; a day without trades is a file with a header")
        if not MAGIC.startswith(waiting[:2]):
            refuse_other_content(waiting, path.name)
            raise damaged("content_type", path.name, f"it is not a readable gzip file: it begins with {waiting[:8]!r}")
        unpacked = 0
        while waiting:
            member = zlib_ng.decompressobj(GZIP_WINDOW)
            while not member.eof:
                text = _unpack(member, waiting, path.name)
                waiting = member.unconsumed_tail or member.unused_data
                unpacked += len(text)
                if unpacked > max(RATIO_FROM_BYTES, MAX_RATIO * (file.tell() - len(waiting))):
                    raise damaged("ratio", path.name, f"its text is more than {MAX_RATIO} times as long as the file")
                if text:
                    yield text
                if not waiting and not member.eof:
                    waiting = file.read(READ_BYTES)
                    # An empty read may still leave text inside: it comes out before the member is called cut.
                    if not waiting and not text:
                        raise damaged("gz_truncated", path.name, "the file ends inside its gzip stream")
            waiting = _next_member(file, member.unused_data, path.name, repaired)


def _unpack(member: "zlib_ng._Decompress", waiting: bytes, what: str) -> bytes:
    try:
        return member.decompress(waiting, BLOCK_BYTES)
    except zlib_ng.error as error:  # type: ignore[misc] # its stub does not say that it is an exception
        code = "gz_crc" if "incorrect data check" in str(error) or "length check" in str(error) else "gz_corrupt"
        raise damaged(code, what, error) from error


def _next_member(file: BinaryIO, waiting: bytes, what: str, repaired: Counter[str]) -> bytes:
    # After a member: nothing, the next member, or padding with zeros to the end.
    waiting = waiting if len(waiting) > 1 else waiting + file.read(READ_BYTES)
    if waiting.startswith(MAGIC) or not waiting:
        return waiting
    while waiting:
        if waiting.strip(b"\0"):
            raise damaged("gz_trailing", what, "other bytes follow the end of the gzip stream")
        repaired["bytes of zero padding"] += len(waiting)
        waiting = file.read(READ_BYTES)
    return b""
