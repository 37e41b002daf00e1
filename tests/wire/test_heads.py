from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import InputError
from prodia_async._wire.heads import read_disposition
from prodia_async._wire.job import form_data

HARD_NAMES = [
    *(
        "two words.png",
        " lead and trail ",
        "é.png",
        "日本.png",
        'a"b.png',
        "a\\b.png",
        "100%25.png",
        "a;b.png",
    ),
    *(
        "+.png",
        "%22.png",
        "C:\\x\\y.jpg",
        "\\",
        '"',
        '\\"',
        "a\\\\b",
        "a=b,c.png",
        "🚀",
        "utf-8''x",
        "..",
        "a\u0085b",
    ),
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_a_hard_name_comes_back_as_it_went(name):
    assert read_disposition(form_data("input", name)) == ("form-data", "input", name)


def test_the_bytes_are_those_that_gos_writer_writes():
    assert form_data("input", 'a"b\\é%.png') == (
        b'form-data; name="input"; filename="a\\"b\\\\\xc3\xa9%.png"'
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("a\rb", "control character"),
        ("a\nb", "control character"),
        ("a\0b", "control character"),
        ("a\x1bb", "control character"),
        ("a\x7fb", "control character"),
        ("dir/a.png", "base name"),
        ("/", "base name"),
        ("a\ud800b", "not Unicode"),
    ],
)
def test_a_name_that_cannot_travel_is_refused(name, why):
    with pytest.raises(InputError, match=why):
        form_data("input", name)


@pytest.mark.parametrize(
    ("raw", "kind", "name", "filename"),
    [
        (b'FORM-Data ; Name="job"; FILENAME=job.json', "form-data", "job", "job.json"),
        (b'form-data;name=job;filename="a;b.png"', "form-data", "job", "a;b.png"),
        (b"form-data", "form-data", None, None),
        (b"form-data;", "form-data", None, None),
        (b'form-data; name=""', "form-data", "", None),
        (b'attachment; filename="x"', "attachment", None, "x"),
        (b'form-data; filename="C:\\dev\\x.png"', "form-data", None, "C:\\dev\\x.png"),
        (b'form-data; filename="a\\\\b"', "form-data", None, "a\\b"),
        (b'form-data; filename="a\\(b\\?"', "form-data", None, "a(b?"),
        (b'form-data; filename="a%22b%0d"', "form-data", None, "a%22b%0d"),
        (b'form-data; filename="\xe9.png"', "form-data", None, "\ufffd.png"),
        (b"form-data; filename=plain; filename*=UTF-8''%e6%97%a5%20x.png", "form-data", None, "日 x.png"),
        (b"form-data; filename*=utf-8'en'a'b", "form-data", None, "a'b"),
        (b"form-data; filename=plain; filename*=iso-8859-1''%e9", "form-data", None, "plain"),
        (b"form-data; filename=plain; filename*=broken", "form-data", None, "plain"),
        (b"form-data; name=a; name=a", "form-data", "a", None),
    ],
)
def test_reading_by_gos_rule(raw, kind, name, filename):
    assert read_disposition(raw) == (kind, name, filename)


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"",
            b";",
            b'"form-data"',
            b"form-data name=x",
            b'form-data; name="open',
            b"form-data; name",
            b"form-data;;",
        ),
        *(
            b"form-data; name=",
            b"form-data; =x",
            b'form-data; name="a"b',
            b"form-data; name=a; name=b",
            b"\xff",
        ),
    ],
)
def test_unreadable_is_none(raw):
    assert read_disposition(raw) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b'"', b"\\", b";", b"=", b" ", b"filename", b"*", b"'", b"%", b"\xff"]), max_size=12
    )
)
def test_never_raises(pieces):
    found = read_disposition(b"form-data; " + b"".join(pieces))
    assert found is None or found[0] == "form-data"
