"""What Go sends, the client reads: part orders, names, sizes, types, prices and errors."""

from __future__ import annotations

import ssl

import pytest
from conformance.cases import HARD_NAMES, HOSTILE_NAMES, MEDIA_TYPES, SIZES
from conformance.helpers import BYTES, WAYS, carry, go_client, sha256
from support.expect import failure

from prodia_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    Fixed,
    Job,
    JobFailedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    Retry,
    ServerError,
)

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("nothing_left")]

TXT2IMG = "go.txt2img.v1"


def of_bytes(size=1000, *, orders=None, **config):
    return Job(BYTES, {"size": size, "emulator": orders or {}, **config})


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("size", SIZES)
async def test_an_output_of_any_size_is_whole(go, size, place, length):
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(size, orders={"job_part": place}, length=length))
    done.assert_outputs_agree()
    assert [len(content) for _, _, content in done.outputs] == [size]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["first", "last"])
async def test_every_way_of_running_a_job_reads_every_output(go, way, place):
    names = [*HARD_NAMES.values()]
    orders = {"job_part": place, "polls": 2}
    job = of_bytes(70_000, outputs=len(names), filename=names, content_type="image/png", orders=orders)
    async with go_client(go) as prodia:
        done = await carry(prodia, job, way)
    done.assert_outputs_agree()
    assert [name for name, _, _ in done.outputs] == names
    assert done.result.state.current == ("processed" if way in ("submit", "mode=async") else "completed")


@pytest.mark.parametrize("way", ["run", "stream", "as_completed"])
@pytest.mark.parametrize(
    "names", [[None, "a.png", None], ["a.png"] * 3, ["", "a.png", ""]], ids=["none", "same", "empty"]
)
async def test_names_that_are_missing_or_the_same_keep_their_outputs_apart(go, way, names):
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(outputs=3, filename=names), way)
    assert [name for name, _, _ in done.outputs] == names
    assert len({content for _, _, content in done.outputs}) == 3
    done.assert_outputs_agree()


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_hostile_names_write_nothing_outside_the_folder(go, tmp_path, mode):
    folder = tmp_path / "a" / "b" / "out"
    names = [*HOSTILE_NAMES, *HARD_NAMES.values()]
    job = of_bytes(outputs=len(names), filename=names)
    async with go_client(go) as prodia:
        result = await prodia.run(job, to=folder, mode=mode)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {folder}
    assert sorted(folder.iterdir()) == sorted(output.path for output in result.outputs)
    assert all(output.path.name.startswith(result.id) for output in result.outputs)
    sent = [part["sha256"] for part in result.raw["sent"]]
    assert [sha256(output.path.read_bytes()) for output in result.outputs] == sent
    if mode == "sync":
        assert [output.filename for output in result.outputs] == names


async def test_two_hundred_outputs_are_told_apart(go):
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(10, outputs=200))
    done.assert_outputs_agree()
    assert len({content for _, _, content in done.outputs}) == 200


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_without_outputs_is_done(go, way):
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(outputs=0), way)
    assert done.outputs == []
    assert done.result.warnings == ()


@pytest.mark.parametrize("kind", MEDIA_TYPES)
async def test_a_media_type_is_read_as_go_wrote_it(go, kind):
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(content_type=kind))
    assert [output[1] for output in done.outputs] == [kind]


async def test_parts_of_other_names_are_passed_over(go):
    extra = [
        {"name": "progress", "content_type": "text/plain", "content": "aGFsZg=="},
        {"name": "Output", "filename": "other.png", "content_type": "image/png", "content": "AAAA"},
        {"disposition": "form-data", "content": "AAAA"},
    ]
    async with go_client(go) as prodia:
        done = await carry(prodia, of_bytes(extra=extra))
    assert len(done.outputs) == 1
    done.assert_outputs_agree()


async def test_a_line_break_in_a_name_is_an_answer_that_cannot_be_read(go):
    """Go 1.19 writes it as it is, and then does not know the part's name itself."""
    name = "a.png\r\nX-Evil: 1"
    parts = [{"name": "output", "filename": name, "content_type": "image/png", "content": b"1"}]
    if go.read(*go.write(parts))["parts"][0]["name"] == "output":
        pytest.skip("this Go writes line breaks in names as %0D%0A")
    async with go_client(go) as prodia:
        with pytest.raises(ProtocolError, match="Content-Disposition") as caught:
            await prodia.run(of_bytes(filename=name))
    assert caught.value.may_have_run


@pytest.mark.parametrize(
    ("asked", "kind", "magic"),
    [
        (None, "image/jpeg", b"\xff\xd8\xff"),
        ("image/jpeg", "image/jpeg", b"\xff\xd8\xff"),
        ("image/png", "image/png", b"\x89PNG\r\n"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
async def test_accept_chooses_the_type_of_the_output(go, way, asked, kind, magic):
    async with go_client(go) as prodia:
        done = await carry(prodia, Job(TXT2IMG, {"seed": 5}, accept=asked), way)
    assert [output[1] for output in done.outputs] == [kind]
    assert done.outputs[0][2].startswith(magic)
    assert done.result.raw["received"]["accept"] == "; ".join(filter(None, ["multipart/form-data", asked]))
    done.assert_outputs_agree()


async def test_a_file_name_chooses_the_type_of_the_output(go, tmp_path):
    async with go_client(go) as prodia:
        result = await prodia.run(TXT2IMG, to=tmp_path / "x.png")
    assert result.raw["received"]["accept"] == "multipart/form-data; image/png"
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n")


async def test_a_type_that_the_job_cannot_make_is_refused(go):
    async with go_client(go) as prodia:
        with pytest.raises(APIError, match="cannot be sent like this") as caught:
            await prodia.run(TXT2IMG, accept="image/x-unheard-of")
    assert (caught.value.status, caught.value.may_have_run) == (406, False)


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_the_price_is_told_to_who_asks_for_it(go, mode):
    async with go_client(go) as prodia:
        told = await prodia.run(of_bytes(), price=True, mode=mode)
        silent = await prodia.run(of_bytes(), mode=mode)
        free = await prodia.run(of_bytes(orders={"price": None}), price=True, mode=mode)
    assert (told.price.dollars, told.price.product) == (0.0025, "go-product")
    assert silent.price is None
    assert "price" not in silent.raw
    assert free.price is None


async def test_times_and_identity_are_read_as_go_writes_them(go):
    async with go_client(go) as prodia:
        result = await prodia.run(of_bytes())
    assert result.id == result.raw["id"]
    assert 299 <= (result.expires_at - result.created_at).total_seconds() <= 301
    assert result.metrics.elapsed >= 0
    assert result.request_id
    assert (result.type, result.config) == (BYTES, {"size": 1000, "emulator": {}})


ERRORS = {
    "multipart 400": (of_bytes(orders={"fail": "the prompt"}), BadRequestError, 400, "the prompt"),
    "JSON 400": (Job(BYTES, {"image": "gone.png"}), BadRequestError, 400, "Bad Request: Missing input image"),
    "unknown type": (Job("go.unheard-of.v1"), BadRequestError, 400, "no such job type"),
    "403": (Job("go.bytes.forbidden.v1"), PermissionDeniedError, 403, "Forbidden"),
    "404": (of_bytes(orders={"status": 404}), NotFoundError, 404, "as ordered"),
    "413": (of_bytes(orders={"status": 413}), APIError, 413, "as ordered"),
    "500": (of_bytes(orders={"status": 500}), ServerError, 500, "as ordered"),
    "502 in HTML": (of_bytes(orders={"status": 502}), ServerError, 502, "502 Bad Gateway"),
    "503": (of_bytes(orders={"status": 503}), ServerError, 503, "as ordered"),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_an_error_is_what_go_says_it_is(go, case):
    job, kind, status, says = ERRORS[case]
    async with go_client(go, retry=Retry(max_errors=0)) as prodia:
        error = await failure(kind, prodia, job=job)
    assert says in str(error)
    assert (error.status, len(error.attempts)) == (status, 1)
    assert error.may_have_run is (status in (500, 502))
    assert error.request_id


async def test_a_refused_job_keeps_the_result_that_tells_why(go):
    async with go_client(go) as prodia:
        with pytest.raises(BadRequestError) as caught:
            await prodia.run(of_bytes(orders={"fail": "the prompt"}))
    assert caught.value.result.error == "the prompt"
    assert caught.value.result.state.current == "failed"


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_job_that_ran_and_failed_is_told(go, mode):
    orders = {"fail": "the model fell over", "fail_200": True}
    async with go_client(go) as prodia:
        with pytest.raises(JobFailedError, match="the model fell over") as caught:
            await prodia.run(of_bytes(orders=orders), mode=mode)
    assert caught.value.may_have_run


@pytest.mark.parametrize(
    ("token", "kind", "status"),
    [("wrong", AuthenticationError, 401), ("forbidden", PermissionDeniedError, 403)],
)
async def test_a_token_that_is_refused_is_told_and_not_shown(go, token, kind, status):
    async with go_client(go, token=f"{token}") as prodia:
        with pytest.raises(kind) as caught:
            await prodia.run(of_bytes())
    assert (caught.value.status, caught.value.may_have_run, len(caught.value.attempts)) == (status, False, 1)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0.01", 0.01), ("0", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", None)]
)
async def test_retry_after_is_read_in_every_form(go, value, seconds):
    orders = {"key": f"shed {value}", "shed": 2, "retry_after": value}
    async with go_client(go) as prodia:
        result = await prodia.run(of_bytes(orders=orders))
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "shed", "done"]
    assert [attempt.retry_after for attempt in result.attempts] == [seconds, seconds, None]


async def test_a_retry_after_above_the_bound_ends_the_job(go):
    orders = {"key": "for ever", "shed": 9, "retry_after": "86400"}
    async with go_client(go) as prodia:
        error = await failure(CapacityError, prodia, job=of_bytes(orders=orders))
    assert error.retry_after == 86400
    assert [attempt.verdict for attempt in error.attempts] == ["shed"]
    assert not error.may_have_run


async def test_a_job_that_go_does_not_know_is_not_found(go):
    async with go_client(go) as prodia:
        with pytest.raises(NotFoundError, match="expired or unknown"):
            await prodia.handle("no/such?id").state()


async def test_a_job_type_without_the_asynchronous_api_is_told(go):
    async with go_client(go) as prodia:
        with pytest.raises(BadRequestError, match="no async"):
            await prodia.submit("go.bytes.sync-only.v1")


async def test_each_output_of_an_asynchronous_job_is_fetched_by_any_name(go):
    names = [name for name in (*HOSTILE_NAMES, *HARD_NAMES.values()) if name]
    names = list(dict.fromkeys(names))
    async with go_client(go) as prodia:
        handle = await prodia.submit(of_bytes(100, outputs=len(names), filename=names, orders={"polls": 1}))
        assert [await handle.state(), await handle.wait()] == ["processing", "processed"]
        assert await handle.outputs() == tuple(names)
        found = [(await handle.download(name)).data for name in names]
        result = await handle.result()
    assert [sha256(content) for content in found] == [part["sha256"] for part in result.raw["sent"]]


async def test_a_stream_that_is_left_early_leaves_go_in_order(go):
    async with go_client(go, limiter=Fixed(1)) as prodia:
        for _ in range(3):
            async with prodia.stream(of_bytes(3_000_000, length=False)) as reply:
                async for piece in await anext(reply):
                    assert piece
                    break
        (await carry(prodia, of_bytes())).assert_outputs_agree()


async def test_the_same_over_tls(go_tls, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    name = 'a "写真" \\.png'
    async with go_client(go_tls, ssl_context=context) as prodia:
        for _ in range(2):
            done = await carry(prodia, Job("go.echo.v1", inputs=[(name, bytes(300_000), "image/png")]))
            assert done.outputs == [(name, "image/png", bytes(300_000))]
        (await carry(prodia, of_bytes(1_000_000, length=False))).assert_outputs_agree()
    assert go_tls.ask("account") == {"connections": 1, "requests": 3}
