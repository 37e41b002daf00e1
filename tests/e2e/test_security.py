"""The token goes to the service and to nobody else, and shows itself nowhere."""

from __future__ import annotations

import logging
import pickle
import traceback
import types

import pytest
from support.expect import JOB
from support.leaks import TOKEN, client
from support.replies import DONE, JOB_ID, PNG, Reply, in_json, job, job_part, multipart, output
from support.servers import answer, early, hang_up, serving, stall

from prodia_async import InputError, JobFailedError, Prodia, ProdiaError, Retry, Timeouts

pytestmark = pytest.mark.usefixtures("nothing_left")

ECHO = {"message": f"no such token: Bearer {TOKEN}", "detail": {"authorization": TOKEN}}
FAULTS = {
    "json echo": answer(in_json(401, ECHO)),
    "text echo": answer(Reply(400, f"You sent {TOKEN}!".encode(), {"Content-Type": "text/plain"})),
    "html echo": answer(Reply(403, f"<title>{TOKEN}</title>".encode(), {"Content-Type": "text/html"})),
    "server error echo": answer(in_json(500, ECHO)),
    "shed echo": answer(in_json(429, ECHO, **{"Retry-After": "999"})),
    "result echo": answer(in_json(400, job("failed", error=f"{TOKEN} is bad"))),
    "failed echo": answer(multipart(job_part(job("failed", error=f"{TOKEN} is bad")))),
    "state echo": answer(multipart(job_part(job(TOKEN)))),
    "redirect echo": answer(Reply(302, b"", {"Location": f"https://example.com/?token={TOKEN}"})),
    "request id echo": answer(Reply(400, b"", {"x-request-id": TOKEN})),
    "boundary echo": answer(Reply(200, b"", {"Content-Type": f'multipart/form-data; boundary="{TOKEN}\t"'})),
    "encoding echo": answer(Reply(200, b"x", {"Content-Encoding": TOKEN})),
    "large headers": answer(Reply(200, b"", {"x-large": TOKEN * 3000})),
    "bad headers": answer(Reply(200, b"", {f"bad header {TOKEN}": "x"})),
    "reset": hang_up("reset"),
    "close": hang_up("close"),
    "cut": answer(Reply(200, DONE.body[:400], DONE.headers, length=9999), then="close"),
    "first byte": stall(),
    "early": early(in_json(413, ECHO)),
}


def everything(error):
    """Return all that an error shows, and its causes and contexts, with the variables of our own frames."""
    seen, texts, pending = set(), [], [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        pending += [each.__cause__, each.__context__]
        texts += [str(each), repr(each), repr(vars(each)), repr(each.args), repr(getattr(each, "result", ""))]
        shown = traceback.TracebackException.from_exception(each, capture_locals=True)
        for frame in shown.stack:
            if "prodia_async" in frame.filename:
                texts += [repr(frame.locals)]
    return texts


def objects(*roots):
    """Return the representations of the objects that can be reached by attributes, a few steps deep."""
    texts, pending = [], [(root, 0) for root in roots]
    while pending:
        each, depth = pending.pop()
        texts.append(repr(each))
        if depth < 3 and "prodia_async" in type(each).__module__ and not isinstance(each, types.ModuleType):
            names = getattr(type(each), "__struct_fields__", None) or getattr(each, "__dict__", {})
            pending += [(getattr(each, name), depth + 1) for name in names]
    return texts


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("prodia_async", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_log_or_traceback_shows_the_token(logged, fault, tmp_path):
    events = []
    options = {
        "retry": Retry(backoff=0.0, max_errors=1),
        "timeouts": Timeouts(first_byte=0.05),
        "on_event": events.append,
    }
    async with serving(FAULTS[fault]) as server, client(server.base_url, **options) as prodia:
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(JOB, inputs=None, to=tmp_path)
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        texts = [*everything(caught.value), *objects(prodia, prodia._engines.peek(), *events)]
        texts += [record.getMessage() for record in logged.records] + [logged.text]
        texts += [str(record.args) for record in logged.records]
        texts += [pickle.dumps(caught.value).decode("latin-1")]
    assert [text for text in texts if TOKEN in text] == []
    assert "sent: inference.test.v1" in logged.text


async def test_a_result_shows_no_token(logged):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        result = await prodia.run(JOB)
        texts = [repr(result), repr(vars(prodia)), *objects(prodia, prodia.with_options(price=True))]
    assert [text for text in [*texts, logged.text] if TOKEN in text] == []


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
async def test_a_result_that_repeats_the_token_is_kept_without_it(way):
    echoing = job(config={"prompt": "a cat", "headers": {"Authorization": f"Bearer {TOKEN}"}})
    reply = in_json(201, echoing) if way == "submit" else multipart(job_part(echoing))
    async with serving(answer(reply)) as server, Prodia(token=TOKEN, base_url=server.base_url) as prodia:
        if way == "run":
            result = await prodia.run(JOB)
        elif way == "stream":
            async with prodia.stream(JOB) as stream:
                result = stream.result
        else:
            result = (await prodia.submit(JOB)).job
    assert result.config == {"prompt": "a cat", "headers": {"Authorization": "Bearer ***"}}
    assert TOKEN not in repr(result.raw)


@pytest.mark.parametrize("token", ["t", "com", '"', "{", "prompt", "completed", "failed"])
@pytest.mark.parametrize("way", ["run", "stream", "handle"])
async def test_an_unlucky_token_breaks_nothing_that_the_service_says(token, way):
    replies = [multipart(job_part(job()), output())]
    if way == "handle":
        names = Reply(body=b'["a.png"]')
        replies = [Reply(body=b"processed"), in_json(200, job("processed")), names, Reply(body=PNG)]
    async with (
        serving(*map(answer, replies)) as server,
        Prodia(token=token, base_url=server.base_url) as prodia,
    ):
        if way == "run":
            result = await prodia.run(JOB)
        elif way == "stream":
            async with prodia.stream(JOB) as stream:
                assert [b"".join([piece async for piece in each]) async for each in stream] == [PNG]
                result = stream.result
        else:
            result = await prodia.handle(JOB_ID).result()
    assert result.state.current == ("processed" if way == "handle" else "completed")
    assert result.raw["config"] == {"prompt": "a cat".replace(token, "***")} == result.config
    assert result.metrics.elapsed == 5.138920783996582
    assert [one.size for one in result.outputs] == [len(PNG)]


@pytest.mark.parametrize("token", ["t", "failed", "error", ":"])
async def test_an_unlucky_token_hides_no_failure(token):
    failed = multipart(job_part(job("failed", error="boom")))
    async with (
        serving(answer(failed)) as server,
        Prodia(token=token, base_url=server.base_url) as prodia,
    ):
        with pytest.raises(JobFailedError) as caught:
            await prodia.run(JOB)
    assert (caught.value.result.state.current, caught.value.result.error) == ("failed", "boom")


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://example.com"},
        {"base_url": "http://example.com"},
        {"headers": {"Authorization": "x"}},
        {"max_concurrency": 0},
        {"token": TOKEN + "\n" + TOKEN},
        {"token": TOKEN + "é"},
    ],
)
def test_a_client_that_cannot_be_made_shows_no_token(options):
    with pytest.raises(InputError) as caught:
        Prodia(**{"token": TOKEN} | options)
    assert [text for text in everything(caught.value) if TOKEN in text] == []


def test_plain_http_to_another_computer_is_refused(monkeypatch):
    with pytest.raises(InputError, match="unencrypted"):
        Prodia(token=TOKEN, base_url="http://inference.example.com")
    monkeypatch.setenv("PRODIA_ALLOW_INSECURE", "1")
    with pytest.raises(InputError, match="unencrypted"):
        Prodia(token=TOKEN, base_url="http://10.0.0.1", allow_insecure=False)


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_plain_http_is_allowed_when_asked_for_and_logged_once(monkeypatch, caplog, way):
    if way == "environment":
        monkeypatch.setenv("PRODIA_ALLOW_INSECURE", "1")
    Prodia(
        token=TOKEN,
        base_url="http://inference.example.com",
        allow_insecure=True if way == "argument" else None,
    )
    [record] = caplog.records
    assert record.getMessage() == "the token travels unencrypted to http://inference.example.com"
    assert record.levelname == "WARNING"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "app.localhost:80", "[::1]:8080"])
def test_plain_http_to_this_computer_needs_no_leave(caplog, host):
    Prodia(token=TOKEN, base_url=f"http://{host}/v2/")
    assert caplog.records == []


def test_no_token_is_told_before_anything_else():
    with pytest.raises(InputError, match="set PRODIA_TOKEN"):
        Prodia()
    with pytest.raises(InputError, match="the token is empty"):
        Prodia(token="  ")


async def test_a_redirect_takes_the_token_nowhere():
    async with serving(answer(DONE)) as elsewhere:
        reply = Reply(307, b"", {"Location": f"{elsewhere.base_url}/v2/job"})
        async with serving(answer(reply)) as server, client(server.base_url) as prodia:
            with pytest.raises(ProdiaError, match="is not followed"):
                await prodia.run(JOB)
            assert len(server.requests) == 1
        assert (elsewhere.connections, elsewhere.requests) == (0, [])


def test_an_explicit_token_is_not_pickled():
    with pytest.raises(InputError, match="pickle_token=True") as caught:
        pickle.dumps(Prodia(token=TOKEN))
    assert [text for text in everything(caught.value) if TOKEN in text] == []


async def test_a_token_from_the_environment_is_named_and_not_held(monkeypatch):
    monkeypatch.setenv("PRODIA_TOKEN", TOKEN)
    async with serving(answer(DONE)) as server:
        data = pickle.dumps(Prodia(base_url=server.base_url, max_concurrency=3, headers={"x-own": "1"}))
        assert TOKEN.encode() not in data
        other = "an0ther-t0ken"
        monkeypatch.setenv("PRODIA_TOKEN", other)
        async with pickle.loads(data) as prodia:
            await prodia.run(JOB)
        [request] = server.requests
    assert request.headers["authorization"] == f"Bearer {other}"
    assert request.headers["x-own"] == "1"
    assert "Adaptive(max_concurrency=3" in repr(prodia)


async def test_a_copy_with_other_options_is_pickled_with_all_of_them(monkeypatch):
    monkeypatch.setenv("PRODIA_TOKEN", TOKEN)
    async with serving(answer(DONE)) as server:
        prodia = Prodia(base_url=server.base_url, headers={"x-one": "1"})
        copy = prodia.with_options(headers={"x-two": "2"}, price=True)
        async with pickle.loads(pickle.dumps(copy)) as other:
            await other.run(JOB)
        [request] = server.requests
    assert (request.headers["x-one"], request.headers["x-two"]) == ("1", "2")
    assert request.target.endswith("?price=true")


async def test_a_token_is_pickled_when_that_was_asked_for():
    async with serving(answer(DONE)) as server:
        data = pickle.dumps(Prodia(token=TOKEN, base_url=server.base_url, pickle_token=True))
        async with pickle.loads(data) as prodia:
            await prodia.run(JOB)
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_pickle_that_cannot_be_used_here_shows_no_token(monkeypatch):
    monkeypatch.setenv("PRODIA_ALLOW_INSECURE", "1")
    data = pickle.dumps(Prodia(token=TOKEN, base_url="http://10.0.0.1", pickle_token=True))
    monkeypatch.delenv("PRODIA_ALLOW_INSECURE")
    with pytest.raises(InputError, match="unencrypted") as caught:
        pickle.loads(data)
    assert [text for text in everything(caught.value) if TOKEN in text] == []
