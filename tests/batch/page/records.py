"""Records as `results.jsonl` has them, and pictures for their outputs."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

HOSTILE = (
    '</script><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
    "'\"><!-- <script> javascript:alert(1) {{ 7*7 }} {% raw %} \u202egnp.exe \u2028 \u2029 \0"
)


def attempt(verdict: str = "done", **values) -> dict:
    base = {"number": 1, "started_at": "2026-11-22T13:28:39.817526Z", "waited": 0.5, "elapsed": 1.5}
    return base | {"verdict": verdict, "may_have_run": True, "status": 200, "request_id": "r1"} | values


def output(path: str, content_type: str | None = "image/png", size: int | None = 10) -> dict:
    return {"path": path, "content_type": content_type, "bytes": size}


def done(
    custom_id: str, *outputs: dict, prompt: str = "a cat", dollars: float | None = None, **values
) -> dict:
    job = {
        "type": "inference.flux-fast.schnell.txt2img.v2",
        "config": {"prompt": prompt, "seed": 7, "width": 64},
        "metrics": {"elapsed": 1.25},
    }
    if dollars is not None:
        job["price"] = {"product": "p", "dollars": dollars}
    record = {"custom_id": custom_id, "status": "done", "job": job, "outputs": list(outputs)}
    return record | {"error": None, "attempts": [attempt()]} | values


def failed(custom_id: str, message: str = "no idle capacity", status: int | None = 429, **values) -> dict:
    error = {"type": "CapacityError", "message": message, "status": status}
    error |= {"request_id": "r9", "may_have_run": False}
    record = done(custom_id) | {"status": "failed", "error": error}
    return record | {"attempts": [attempt("shed", number=number) for number in (1, 2)]} | values


def picture(path: Path, size: tuple[int, int] = (64, 48), mode: str = "RGB", color=200, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path
