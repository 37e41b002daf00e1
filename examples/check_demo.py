"""Check the demo's outputs: python examples/check_demo.py out/demo.

Every output is opened; a picture made from a picture must resemble its own input more than the others;
an upscale must have the size that was asked for; a message must be text. Ends with 1 if anything is amiss.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"


def main(out: Path) -> int:
    """Check the results in the folder `out`, print a table, and return the exit code."""
    jobs = {job["custom_id"]: job for job in read_lines(HERE / "demo.jsonl")}
    inputs = {path.name: likeness(path) for path in PICTURES.iterdir() if path.suffix != ".md"}
    records = {record["custom_id"]: record for record in read_lines(out / "results.jsonl")}
    flaws = {name: flaw(job, records.get(name), out, inputs) for name, job in jobs.items()}
    wrong = [f"{name}: {what}" for name, what in flaws.items() if what is not None]
    good = Counter(kind(job) for name, job in jobs.items() if flaws[name] is None)
    for name, count in Counter(map(kind, jobs.values())).items():
        print(f"{name:<10} {good[name]:>4} of {count:>4} good")
    print(f"{'in all':<10} {good.total():>4} of {len(jobs):>4} good, {len(records)} results")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong) or len(records) != len(jobs))


def flaw(
    job: dict[str, Any], record: dict[str, Any] | None, out: Path, inputs: dict[str, list[float]]
) -> str | None:
    """Return what is amiss with a job; None if nothing is."""
    if record is None:
        return "it has no result"
    try:
        check(job, record, out, inputs)
    except (KeyError, OSError, SyntaxError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def check(job: dict[str, Any], record: dict[str, Any], out: Path, inputs: dict[str, list[float]]) -> None:
    """Raise an error that says what is amiss with the outputs of one job."""
    require(record["status"] == "done", f"its status is {record['status']}")
    outputs = record["outputs"]
    require(len(outputs) == (2 if kind(job) == "edit" else 1), f"it has {len(outputs)} outputs")
    for output in outputs:
        size = (out / output["path"]).stat().st_size
        require(size == output["bytes"], f"{output['path']} has {size} bytes, not {output['bytes']}")
    picture = out / outputs[0]["path"]
    with Image.open(picture) as opened:
        opened.verify()
    with Image.open(picture) as opened:  # after verify() a picture has to be opened again
        opened.load()
    config = job["config"]
    if kind(job) == "txt2img":
        require_size(picture, config["width"], config["height"])
    else:
        resembles(picture, config["image"], inputs)
    if kind(job) == "upscale":
        with Image.open(PICTURES / config["image"]) as source:
            require_size(picture, source.width * config["upscale"], source.height * config["upscale"])
    if kind(job) == "edit":
        message = (out / outputs[1]["path"]).read_text(encoding="utf-8")
        require(bool(message.strip()), "its message is empty")


def kind(job: dict[str, Any]) -> str:
    """Return what sort of job it is: its custom_id begins with that."""
    return str(job["custom_id"]).partition("-")[0]


def require(condition: bool, otherwise: str) -> None:
    """Raise ValueError with `otherwise` unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)


def require_size(picture: Path, width: int, height: int) -> None:
    """Raise ValueError unless the picture has that size."""
    with Image.open(picture) as opened:
        require(opened.size == (width, height), f"{opened.size} is its size, not {(width, height)}")


def resembles(picture: Path, source: str, inputs: dict[str, list[float]]) -> None:
    """Raise ValueError unless a picture is like its source, and clearly less like the other inputs."""
    own = likeness(picture)
    scores = {name: correlation(own, other) for name, other in inputs.items()}
    best_other = max(score for name, score in scores.items() if name != source)
    mine = scores[source]
    require(
        mine > 0.6 and mine - best_other > 0.1,
        f"{mine:.2f} is its likeness to {source}, {best_other:.2f} to another",
    )


def likeness(path: Path) -> list[float]:
    """Return the picture's brightness on a grid of 24 x 24, without its lower third: captions stand there."""
    with Image.open(path) as opened:
        brightness = opened.convert("HSV").getchannel("V")
    upper = brightness.crop((0, 0, brightness.width, brightness.height * 2 // 3))
    grid = upper.resize((24, 24), Image.Resampling.BOX)
    return [float(value) for value in grid.tobytes()]


def correlation(one: list[float], other: list[float]) -> float:
    """Return the correlation of two grids, from -1 to 1."""
    mean_one, mean_other = sum(one) / len(one), sum(other) / len(other)
    a, b = [value - mean_one for value in one], [value - mean_other for value in other]
    both = sum(x * y for x, y in zip(a, b, strict=True))
    scale = sum(x * x for x in a) * sum(y * y for y in b)
    return both / scale**0.5 if scale else 0.0


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file with one in each line."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/check_demo.py OUT")
    sys.exit(main(Path(sys.argv[1])))
