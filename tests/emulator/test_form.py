from __future__ import annotations

import hashlib

import pytest

from prodia_async.emulator._form import MAX_HEADER, MAX_PARTS, FormError, FormReader

BODY = (
    b"a preamble\r\n--bb\r\n"
    b'Content-Disposition: form-data; name="job"\r\nContent-Type: application/json\r\n\r\n'
    b"{}\r\n--b\r\n-\r\n--bb\r\n"
    b'content-disposition: form-data; name="input"; filename="e.png"\r\n\r\n'
    b"\r\n--bb\r\n"
    b'Content-Disposition: form-data; name="input"; filename="f.png"\r\n\r\n'
    b"--bb--\r\nan epilogue"
)
EXPECTED = [
    ("job", "", "application/json", b"{}\r\n--b\r\n-"),
    ("input", "e.png", "application/octet-stream", b""),
    ("input", "f.png", "application/octet-stream", b""),
]


def read(pieces, keep=1000):
    reader = FormReader(b"bb", keep=keep)
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return reader.parts


def seen(parts):
    return [(part.name, part.filename, part.content_type, part.content) for part in parts]


def test_a_form_is_read_whole_and_byte_by_byte():
    assert seen(read([BODY])) == EXPECTED
    assert seen(read([BODY[at : at + 1] for at in range(len(BODY))])) == EXPECTED


def test_a_form_is_read_cut_at_every_position():
    for at in range(len(BODY)):
        assert seen(read([BODY[:at], BODY[at:]])) == EXPECTED, at


def test_a_part_larger_than_what_is_kept_is_counted_and_hashed():
    content = b"x" * 5000
    [part] = read(
        [
            b'--bb\r\nContent-Disposition: form-data; name="input"\r\n\r\n',
            content[:3000],
            content[3000:],
            b"\r\n--bb--",
        ]
    )
    assert (part.content, part.size) == (None, 5000)
    assert part.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "before its last boundary"),
        (BODY[:-20], "before its last boundary"),
        (b"--bb\r\nContent-Disposition: form-data", "before its last boundary"),
        (b"--bbx\r\n", "something else than a line end"),
        (b"--bb\r\nno colon\r\n\r\n\r\n--bb--", "without a colon"),
        (b"--bb\r\nx: " + b"y" * MAX_HEADER, "headers of a part are longer"),
        (b"--bb\r\nx: " + b"y" * MAX_HEADER + b"\r\n\r\n", "headers of a part are longer"),
        (b"--bb\r\n\r\n\r\n" * (MAX_PARTS + 1) + b"--bb--", f"more than {MAX_PARTS} parts"),
    ],
)
def test_a_bad_form_is_refused(body, reason):
    with pytest.raises(FormError, match=reason):
        read([body])
