import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodia_async._files.landing import name_of, safe_name

HOSTILE = [
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a\0b", "a\nb", ".hidden", "con", "NUL.txt",
    "com1",
    "lpt9.tar.gz", "a.", "日本", "x" * 101, "\ud800", "a b", "é" * 300, "~", "." * 200,
]  # fmt: skip


@pytest.mark.parametrize("text", ["a", "job-17", "A_b.c-d", "x" * 100, "console", "com10", "-", "a..b"])
def test_safe_text_stays(text):
    assert safe_name(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_other_text_is_changed_and_marked(text):
    assert_safe(safe_name(text))
    assert safe_name(text) != text


def test_the_mark_is_the_hash_of_the_original():
    assert safe_name("a b") == "a_b-c8687a08"
    assert safe_name("..") == "output-5ec1f7e7"


def test_names_that_look_alike_stay_apart():
    assert len({safe_name(text) for text in ["a/b", "a\\b", "a b", "a_b", "a:b"]}) == 5


@given(st.text())
def test_any_text_gives_a_safe_name(text):
    assert_safe(safe_name(text))


def assert_safe(name):
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert 0 < len(name) <= 109
    assert not name.startswith(".")
    assert name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


def test_numbered():
    assert [name_of("x", ".png", number) for number in (1, 2, 3)] == ["x.png", "x-2.png", "x-3.png"]
