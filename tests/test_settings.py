from __future__ import annotations

import math
import traceback

import pytest

from prodia_async import InputError, Limits, Retry, Timeouts
from prodia_async._settings import MiB, Token, require

VALUE = "s3cret-t0ken"


class TestRetry:
    def test_defaults(self):
        assert Retry() == Retry(
            patience=None, max_errors=4, backoff=0.5, max_backoff=30, max_retry_after=120, resend_unknown=0
        )

    @pytest.mark.parametrize("name", Retry.__struct_fields__)
    @pytest.mark.parametrize("value", [-1, -0.001, math.nan])
    def test_nothing_is_negative(self, name, value):
        with pytest.raises(InputError, match=rf"Retry\.{name} cannot be {value}"):
            Retry(**{name: value})

    @pytest.mark.parametrize("name", Retry.__struct_fields__)
    def test_zero_will_do(self, name):
        assert getattr(Retry(**{name: 0}), name) == 0

    def test_patience_may_have_no_end(self):
        assert Retry(patience=math.inf) != Retry(patience=None)


class TestTimeouts:
    def test_defaults(self):
        assert Timeouts() == Timeouts(connect=10, first_byte=600, idle=60, keepalive=10)

    @pytest.mark.parametrize("name", Timeouts.__struct_fields__)
    @pytest.mark.parametrize("value", [0, -1, math.nan])
    def test_each_takes_some_time(self, name, value):
        with pytest.raises(InputError, match=rf"Timeouts\.{name} cannot be {value}"):
            Timeouts(**{name: value})

    def test_each_may_have_no_end(self):
        assert Timeouts(first_byte=math.inf, idle=math.inf).idle == math.inf


class TestLimits:
    def test_defaults(self):
        assert Limits() == Limits(
            collect=32 * MiB,
            max_memory_output=256 * MiB,
            max_output_bytes=None,
            max_job_part=4 * MiB,
            max_parts=1000,
            max_header=16 * 1024,
        )

    @pytest.mark.parametrize("name", Limits.__struct_fields__)
    def test_none_is_negative(self, name):
        with pytest.raises(InputError, match=rf"Limits\.{name} cannot be -1"):
            Limits(**{name: -1})
        assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize("settings", [Retry, Timeouts, Limits])
def test_settings_are_keyword_only_frozen_and_told_by_their_repr(settings):
    with pytest.raises(TypeError):
        settings(1)
    name = settings.__struct_fields__[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(settings(), name, 1)
    assert f"{name}=" in repr(settings())


def test_require():
    require(True, "x", 1)
    with pytest.raises(InputError, match=r"^timeout cannot be -3$") as error:
        require(False, "timeout", -3)
    assert isinstance(error.value, ValueError)


class TestToken:
    def test_it_gives_the_header(self):
        assert Token(VALUE).header == f"Bearer {VALUE}"

    def test_white_space_around_it_is_dropped(self):
        assert Token(f"  {VALUE}\n").header == f"Bearer {VALUE}"

    def test_it_shows_itself_to_nobody(self):
        token = Token(VALUE)
        assert repr(token) == str(token) == f"{token}" == "Token(***)"
        assert not hasattr(token, "__dict__")

    def test_it_takes_itself_out_of_texts(self):
        token = Token(VALUE)
        assert token.redact(f"a {VALUE} b{VALUE}") == "a *** b***"
        assert token.redact("nothing in here") == "nothing in here"

    @pytest.mark.parametrize("empty", ["", "  ", "\n\t"])
    def test_an_empty_one_is_refused(self, empty):
        with pytest.raises(InputError, match="PRODIA_TOKEN"):
            Token(empty)

    @pytest.mark.parametrize("bad", ["a b", "a\r\nX-Evil: 1", "a\0b", "tökén", "a\x7fb", "a\tb", "„abc“"])
    def test_one_that_cannot_stand_in_a_header_is_refused_and_not_shown(self, bad):
        with pytest.raises(InputError, match="copy it again") as error:
            Token(f"{VALUE}{bad}")
        assert VALUE not in "".join(traceback.format_exception(error.value))
