"""Rows in, rows out: the one coroutine that data engines need to run jobs. The extra `cloud`.

    rows = Rows(
        type="inference.flux-fast.schnell.txt2img.v2",
        id="sku",
        config={"prompt": "caption"},
        accept="image/jpeg",
        to="s3://bucket/pictures/",
    )
    await rows({"sku": "7", "caption": "a cat"})  # {"status": "done", "url": "s3://...", ...}

An engine repeats rows: when a worker dies, when a run is resumed. A row whose outputs stand is not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from prodia_async._client import Prodia
from prodia_async._errors import InputError, ProdiaError
from prodia_async._files.landing import leaf_of, safe_name
from prodia_async._models import Job, JobResult, Mode
from prodia_async._uploads import reason
from prodia_async._wire import media
from prodia_async.stores import Store, target

Row: TypeAlias = Mapping[str, Any]
Column: TypeAlias = str | Callable[[Row], Any]
"""What a row has: the name of a column, or a function of the row."""

_NOTHING: dict[str, Any] = {
    "status": "failed",
    "url": None,
    "urls": [],
    "job_id": None,
    "dollars": None,
    "error": None,
    "may_have_run": False,
    "attempts": 0,
}
FIELDS = frozenset(_NOTHING)
"""What the dict of a row has."""


class Rows:
    """Runs one job for each row: `await rows(row)` gives a plain dict, and never raises for a job's failure.

    - `type`: the job type, or a function of the row.
    - `id`: the column that tells rows apart, or a function. It names the outputs: `<to><id>.<ext>`, then
      `<to><id>/2.<ext>` and so on. These keys are the row's own, and replaced where it is run again.
    - `accept`: the media type of the first output, such as `image/png`. It gives the key its suffix.
    - `to`: a URL such as `s3://bucket/prefix/`, or a `Store`.
    - `config`: the columns by the config's keys (`{"prompt": "caption"}`; what is no text stands for
      itself), or the one column that holds a mapping, or a function that returns one.
    - `inputs`: the columns, each with an input or a list of them, or a function that returns a list.
    - `mode`, `timeout`, `price`: see `Prodia.run`; prices are asked for unless `price=False`.
    - `client`: arguments for `Prodia`, such as `{"max_concurrency": 16}`. The token comes from PRODIA_TOKEN.

    The dict has `status` ("done"; "exists", where the outputs stood already, which one HEAD tells; "failed"),
    `url` (of the first output) and `urls`, `job_id`, `dollars`, `error` (a text), `may_have_run` (may a row
    that failed have been billed?) and `attempts` (a number).

    It can be pickled, as long as its functions can; the client is made where it is first used. Any number of
    rows may be awaited at once: the client learns how many to send. Raises InputError for arguments that
    cannot work, and, at the first row, for a bucket that takes no outputs and for a token that is not there.
    """

    def __init__(
        self,
        *,
        type: str | Callable[[Row], str],  # noqa: A002 - what the API calls it
        id: Column,  # noqa: A002 - the same
        accept: str,
        to: str | Store,
        config: Mapping[str, Any] | Column | None = None,
        inputs: Column | Sequence[str] = (),
        mode: Mode = "sync",
        timeout: float | None = None,
        price: bool = True,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        self._given = {name: value for name, value in locals().items() if name != "self"}
        if not media.is_type(accept):
            raise InputError(f"accept must be a media type such as 'image/png', not {accept!r}")
        if client is not None and "token" in client:
            raise InputError("Rows takes no token, for it is pickled: set PRODIA_TOKEN where it runs")
        self._place = _place(to)
        self._place.owns = True
        self._prodia: Prodia | None = None
        self._under_way: set[str] = set()

    async def __call__(self, row: Row) -> dict[str, Any]:
        """Run the row's job, unless its outputs stand."""
        given = self._given
        if self._prodia is None:
            self._prodia = Prodia(**{"price": given["price"], **(given["client"] or {})})
        if not self._place.is_good:
            await self._place.prepare()
        name = None
        try:
            job = self._job(row)
            wanted = f"{safe_name(str(job.custom_id))}{media.suffix_for(given['accept'])}"
            if wanted in self._under_way:
                raise InputError(f"another row with the id {job.custom_id!r} is under way")  # noqa: TRY301
            self._under_way.add(name := wanted)
            if await self._place.stands(name):
                url = self._place.url_of(self._place.prefix + name)
                return {**_NOTHING, "status": "exists", "url": url, "urls": [url]}
            return _done(await self._prodia.run(job, to=self._place.renamed(name), timeout=given["timeout"]))
        except ProdiaError as error:
            return _failed(error)
        except Exception as error:  # noqa: BLE001 - a function of the user's, or a store, may raise anything
            return {**_NOTHING, "error": f"{type(error).__name__}: {reason(error)}"}
        finally:
            self._under_way.discard(name or "")

    def _job(self, row: Row) -> Job:
        given = self._given
        kind, config, inputs = given["type"], given["config"], given["inputs"]
        if isinstance(config, Mapping):
            config = {key: _of(row, each) if isinstance(each, str) else each for key, each in config.items()}
        elif config is not None:
            config = _of(row, config)
        if not callable(inputs):
            columns = [inputs] if isinstance(inputs, str) else inputs
            values = [_of(row, column) for column in columns]
            inputs = [each for value in values for each in (value if isinstance(value, list) else [value])]
        else:
            inputs = inputs(row)
        custom_id = str(_of(row, given["id"]))
        if not custom_id:
            raise InputError("the row's id is empty")
        return Job(
            type=kind(row) if callable(kind) else kind,
            config=config or {},
            inputs=inputs,
            accept=given["accept"],
            custom_id=custom_id,
            mode=given["mode"],
        )

    async def aclose(self) -> None:
        """Close the client's connections."""
        if self._prodia is not None:
            await self._prodia.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __getstate__(self) -> dict[str, Any]:
        return self._given

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _place(to: object) -> Store:
    """Return the store that a URL or a `Store` means, for keys of the rows' own."""
    if isinstance(to, Store):
        return to.renamed()
    if not isinstance(to, str) or leaf_of(to) is None:
        raise InputError("to= is the URL of a prefix, such as 's3://bucket/prefix/', or Store(...)")
    return target(to, outright=False)


def _of(row: Row, column: Column) -> Any:
    if callable(column):
        return column(row)
    try:
        return row[column]
    except KeyError:
        raise InputError(f"the row has no column {column!r}: it has {sorted(map(str, row))[:20]}") from None


def _done(result: JobResult) -> dict[str, Any]:
    urls = [output.url for output in result.outputs]
    return {
        **_NOTHING,
        "status": "done",
        "url": urls[0] if urls else None,
        "urls": urls,
        "job_id": result.id,
        "dollars": None if result.price is None else result.price.dollars,
        "attempts": len(result.attempts),
    }


def _failed(error: ProdiaError) -> dict[str, Any]:
    known: Any = getattr(error, "result", None) or getattr(error, "handle", None)
    return {
        **_NOTHING,
        "error": str(error),
        "job_id": getattr(known, "id", None),
        "may_have_run": error.may_have_run,
        "attempts": len(error.attempts),
    }
