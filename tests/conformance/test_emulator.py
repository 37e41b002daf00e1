"""Go's client against the emulator: each reads what the other writes, as Go's server would have done."""

from __future__ import annotations

import json

import pytest
from conformance.cases import HARD_NAMES, HOSTILE_NAMES, SIZES
from conformance.helpers import pattern, sha256
from support import goserver

from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.newest

ECHO, BYTES, TXT2IMG = "emulator.echo.v1", "emulator.bytes.v1", "any.txt2img.v1"
CONTENT = pattern(5000)
JSON = "application/json"


@pytest.fixture(scope="module")
def emulator():
    with background_emulator(latency=0, token=goserver.TOKEN, forbidden=["forbidden"]) as server:
        yield server


def part(name, filename, content_type, content=CONTENT):
    return {"name": name, "filename": filename, "content_type": content_type, "content": content}


def job_part(kind, config=None):
    body = json.dumps({"type": kind, "config": config or {}}, ensure_ascii=False)
    return part("job", "job.json", JSON, body.encode())


def an_input(filename, content=CONTENT, content_type="image/png"):
    return part("input", filename, content_type, content)


def in_parts(kind, *inputs, config=None, job_last=False, **how):
    job = [job_part(kind, config)]
    return {"parts": [*inputs, *job] if job_last else [*job, *inputs], **how}


def in_json(kind, *, accept="multipart/form-data", query="", orders=None, **config):
    config |= {"emulator": orders} if orders else {}
    body = json.dumps({"type": kind, "config": config}).encode()
    return raw(body, JSON) | {"query": query} | ({} if accept is None else {"headers": {"Accept": accept}})


def raw(body, content_type):
    return {"body": body, "content_type": content_type}


def ask(go, base_url, request):
    """Have Go send the request, and return its answer as Go read it."""
    headers = {"Authorization": f"Bearer {request.get('token', goserver.TOKEN)}"}
    headers |= {"Content-Type": request["content_type"]} if "content_type" in request else {}
    headers |= request.get("headers", {})
    answer = go.ask(
        "post",
        request={
            "method": request.get("method", "POST"),
            "url": base_url.replace("127.0.0.1", request.get("host", "127.0.0.1"))
            + request.get("path", "/v2/job")
            + request.get("query", ""),
            "headers": {name: value for name, value in headers.items() if value},
            "parts": request.get("parts", []),
            "body": request.get("body", b""),
            "chunked": request.get("chunked", False),
        },
    )
    assert "status" in answer, answer
    return answer


def outlined(answer, kind):
    """Return what an answer means, without what differs from server to server: ids, times, own fields."""
    parts = answer["parts"] or []
    texts = [part["text"] for part in parts if part["name"] == "job"] or [answer["text"]]
    found = json.loads(texts[0]) if texts[0].startswith("{") else {}
    assert not found or "message" in found or {"id", "created_at", "updated_at", "expires_at"} <= set(found)
    price = found.get("price")
    return {
        "status": answer["status"],
        "content type": answer["header"]["Content-Type"][0].partition(";")[0],
        "retry after": answer["header"].get("Retry-After"),
        "is sized": answer["content_length"] >= 0 if parts else None,  # Go sends long JSON in chunks
        "request id": "X-Request-Id" in answer["header"],
        "parts": [_part(part, kind) for part in parts],
        "type": found.get("type"),
        "state": found.get("state"),
        "has an error": "error" in found,
        "has a message": "message" in found,
        "price": price if price is None else price["dollars"],
        "asks for a price": "price" in found,
    }


def _part(part, kind):
    """Names of pictures are random, and the bytes of pictures and patterns each server's own."""
    is_job = part["name"] == "job"
    name = bool(part["filename"]) if kind == TXT2IMG and not is_job else part["filename"]
    known = (part["size"], part["sha256"]) if kind == ECHO and not is_job else ()
    size = part["size"] if kind == BYTES and not is_job else None
    return (part["name"], name, part["content_type"], sorted(part["header"]), size, *known)


EVERY_NAME = [an_input(name, pattern(100, number)) for number, name in enumerate(HARD_NAMES.values())]
CUT = b'--x\r\nContent-Disposition: form-data; name="job"'
STRANGE_NAMES = [name for name in HOSTILE_NAMES if name != ""]

AGREED = {
    "every hard name": (ECHO, in_parts(ECHO, *EVERY_NAME)),
    "the job part last": (ECHO, in_parts(ECHO, *EVERY_NAME[:3], job_last=True)),
    "the job part in the middle": (ECHO, {"parts": [EVERY_NAME[0], job_part(ECHO), EVERY_NAME[1]]}),
    "chunked": (ECHO, in_parts(ECHO, an_input("a.png", pattern(300_000)), chunked=True)),
    "100-continue": (ECHO, in_parts(ECHO, an_input("a.png"), headers={"Expect": "100-continue"})),
    "an input without a name": (ECHO, in_parts(ECHO, part("input", None, "image/png"))),
    "a name with a directory": (ECHO, in_parts(ECHO, an_input("x/y/a.png"))),
    "other parts": (ECHO, in_parts(ECHO, part("mask", "m.png", "image/png"), an_input("a.png"))),
    "no inputs": (ECHO, in_parts("any.ping.v1")),
    "JSON": ("any.ping.v1", in_json("any.ping.v1")),
    "JSON with a charset": ("", raw(b'{"type":"any.ping.v1"}', "application/json; charset=utf-8")),
    "no outputs": (BYTES, in_json(BYTES, outputs=0)),
    "outputs without names": (BYTES, in_json(BYTES, outputs=3, size=9, filename=[None, "a", None])),
    "outputs of one name": (BYTES, in_json(BYTES, outputs=2, size=9, filename=["a", "a"])),
    "outputs of hostile names": (BYTES, in_json(BYTES, outputs=15, size=9, filename=STRANGE_NAMES)),
    "outputs of hard names": (BYTES, in_json(BYTES, outputs=27, size=9, filename=[*HARD_NAMES.values()])),
    "outputs in chunks": (BYTES, in_json(BYTES, outputs=2, size=70_000, length=False)),
    "the answer's job part last": (BYTES, in_json(BYTES, size=9, orders={"job_part": "last"})),
    "a price": (BYTES, in_json(BYTES, size=9, query="?price=true")),
    "a price of its own": (BYTES, in_json(BYTES, size=9, query="?price=true", orders={"price": 1.5})),
    "no price": (BYTES, in_json(BYTES, size=9, query="?price=true", orders={"price": None})),
    "price=false": (BYTES, in_json(BYTES, size=9, query="?price=false")),
    "no token": ("", in_json(BYTES) | {"headers": {"Authorization": ""}}),
    "a wrong token": ("", in_json(BYTES) | {"token": "wrong"}),
    "another scheme": ("", in_json(BYTES) | {"headers": {"Authorization": "Basic Z28tdG9rZW4="}}),
    "a forbidden token": ("", in_json(BYTES) | {"token": "forbidden"}),
    "a forbidden type": ("", in_json("emulator.bytes.forbidden.v1")),
    "an unknown type": ("", in_json("any.unheard-of.v1")),
    "an unknown path": ("", in_json(BYTES) | {"path": "/v2/jobs"}),
    "shed": ("", in_json(BYTES, orders={"shed": 1, "key": "agreed", "retry_after": "0.25"})),
    "shed without Retry-After": ("", in_json(BYTES, orders={"shed": 1, "key": "x", "retry_after": None})),
    "failed": ("", in_json(BYTES, orders={"fail": "the prompt"})),
    "failed, in JSON": ("", in_json(BYTES, accept=JSON, orders={"fail": "the prompt"})),
    "failed with 200": ("", in_json(BYTES, orders={"fail": "the model", "fail_200": True})),
    "500": ("", in_json(BYTES, orders={"status": 500})),
    "502": ("", in_json(BYTES, orders={"status": 502})),
    "no JSON": ("", raw(b"{", JSON)),
    "JSON of another kind": ("", raw(b"[]", JSON)),
    "no type": ("", raw(b'{"config":{}}', JSON)),
    "a type that is no text": ("", raw(b'{"type":1}', JSON)),
    "a config that is a list": ("", raw(b'{"type":"any.ping.v1","config":[1]}', JSON)),
    "NaN": ("", raw(b'{"type":"any.ping.v1","config":{"a":NaN}}', JSON)),
    "an empty body": ("", raw(b"", JSON)),
    "another Content-Type": ("", raw(b"type=any.ping.v1", "application/x-www-form-urlencoded")),
    "no boundary": ("", raw(b"--x--\r\n", "multipart/form-data")),
    "no parts": ("", raw(b"--x--\r\n", "multipart/form-data; boundary=x")),
    "a body that is cut short": ("", raw(CUT, "multipart/form-data; boundary=x")),
    "two job parts": ("", {"parts": [job_part(ECHO), job_part(ECHO)]}),
    "no job part": ("", {"parts": [an_input("a.png")]}),
    "two inputs of one name": ("", in_parts(ECHO, an_input("a.png"), an_input("a.png"))),
    "an image that was not sent": ("", in_parts(ECHO, an_input("a.png"), config={"image": "b.png"})),
    "an image of two that was not sent": ("", in_parts(ECHO, an_input("a"), config={"images": ["a", "b"]})),
}  # fmt: skip


@pytest.mark.parametrize("case", AGREED)
def test_the_emulator_answers_as_the_go_server_does(go, emulator, case):
    kind, request = AGREED[case]
    by_emulator = outlined(ask(go, emulator.base_url, request), kind)
    assert by_emulator == outlined(ask(go, go.base_url, request), kind)


ACCEPT = [
    *(None, "*/*", "multipart/form-data", "Multipart/Form-Data", "multipart/form-data; image/png"),
    *(
        "multipart/form-data;image/jpeg",
        "multipart/form-data; image/gif",
        "image/png",
        "image/jpeg",
        "image/gif",
    ),
    *("IMAGE/PNG", "image/*", "application/json", "multipart/form-data, image/png", "image/png, */*;q=0.1"),
]


@pytest.mark.parametrize("accept", ACCEPT)
def test_accept_means_to_the_emulator_what_it_means_to_the_go_server(go, emulator, accept):
    request = in_json(TXT2IMG, accept=accept, prompt="a hill", width=64, height=64)
    answers = [ask(go, base_url, request) for base_url in (emulator.base_url, go.base_url)]
    by_emulator, by_go = (outlined(answer, TXT2IMG) for answer in answers)
    assert by_emulator == by_go


@pytest.mark.parametrize("accept", ["image/png", "*/*", "application/json"])
@pytest.mark.parametrize("outputs", [0, 2])
def test_several_outputs_cannot_be_sent_directly(go, emulator, outputs, accept):
    request = in_json(BYTES, accept=accept, size=9, outputs=outputs)
    by_emulator = outlined(ask(go, emulator.base_url, request), BYTES)
    assert by_emulator == outlined(ask(go, go.base_url, request), BYTES)


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_that_go_sends_is_read_and_sent_back(go, emulator, size):
    content = pattern(size, size)
    answer = ask(go, emulator.base_url, in_parts(ECHO, an_input("a.bin", content)))
    job, output = answer["parts"]
    told = json.loads(job["text"])["emulator"]["inputs"]
    assert [(each["size"], each["sha256"]) for each in told] == [(size, sha256(content))]
    assert (output["size"], output["sha256"]) == (size, sha256(content))


@pytest.mark.parametrize("name", HARD_NAMES.values(), ids=HARD_NAMES)
def test_the_emulator_reads_a_name_as_go_does(go, emulator, name):
    request = in_parts(ECHO, an_input(name), config={"image": name})
    answer = ask(go, emulator.base_url, request)
    assert answer["status"] == 200
    job, output = answer["parts"]
    assert json.loads(job["text"])["emulator"]["inputs"][0]["filename"] == name
    assert (output["filename"], output["sha256"]) == (name, sha256(CONTENT))


def test_asynchronous_jobs_are_told_as_the_go_server_tells_them(go, emulator):
    names = [*dict.fromkeys(name for name in (*HOSTILE_NAMES, *HARD_NAMES.values()) if 0 < len(name) < 2000)]
    submission = in_json(BYTES, size=9, outputs=len(names), filename=names) | {"path": "/v2/job/async"}
    found = []
    for base_url in (emulator.base_url, go.base_url):
        submitted = ask(go, base_url, submission)
        path = f"/v2/job/async/{json.loads(submitted['text'])['id']}"

        def get(what, base_url=base_url, path=path):
            return ask(go, base_url, {"method": "GET", "path": f"{path}/{what}"})

        states = [get("job.state.current")["text"]]
        while states[-1] == "processing":
            states.append(get("job.state.current")["text"])
        listed = json.loads(get("output")["text"])
        outputs = [get(f"output/{quoted(name)}") for name in listed]
        result = get("job.json?price=true")
        found.append(
            {
                "submitted": outlined(submitted, BYTES),
                "state": states[-1],
                "result": outlined(result, BYTES),
                "names": listed,
                "outputs": [outlined(output, "") | {"size": output["size"]} for output in outputs],
                "missing": outlined(get("output/missing"), ""),
            }
        )
    assert found[0] == found[1]
    assert found[0]["names"] == names


def quoted(name):
    return "".join(f"%{byte:02X}" for byte in name.encode())


@pytest.mark.parametrize("what", ["job.state.current", "job.json", "output", "output/a.png", "unheard-of"])
def test_an_unknown_asynchronous_job_is_not_found(go, emulator, what):
    request = {"method": "GET", "path": f"/v2/job/async/unheard-of/{what}"}
    by_emulator = outlined(ask(go, emulator.base_url, request), "")
    assert by_emulator == outlined(ask(go, go.base_url, request), "")
    assert by_emulator["status"] == 404
