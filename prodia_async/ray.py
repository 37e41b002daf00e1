"""Jobs in Ray Data: a row of a dataset is a job, and what became of it are more columns. The extra `ray`.

    pictures = ray.data.read_parquet("captions.parquet").map(
        Generate,
        fn_constructor_kwargs=dict(
            type="inference.flux-fast.schnell.txt2img.v2",
            id="sku",
            config={"prompt": "caption"},
            accept="image/jpeg",
            to="s3://bucket/pictures/",
        ),
        compute=ray.data.ActorPoolStrategy(size=2, max_concurrent_calls_per_actor=4),
        num_cpus=0.5,
    )
    pictures.write_parquet("results/")

Ray repeats a block of rows when its actor dies: rows whose outputs stand are not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prodia_async._errors import InputError
from prodia_async.rows import FIELDS, Rows

if TYPE_CHECKING:
    from prodia_async.rows import Row


class Generate(Rows):
    """`ds.map(Generate, fn_constructor_kwargs=dict(...))`: the arguments are those of `Rows`.

    A row comes back with its own columns and those of what became of it: `status`, `url`, `urls`, `job_id`,
    `dollars`, `error`, `may_have_run` and `attempts`. A job that fails is a row; it does not end the dataset.

    Ray gives an actor 16 rows at once for each block that it works on: `max_concurrent_calls_per_actor=4` is
    64 rows in flight an actor. Its client learns how many of them the service takes.

    Raises InputError, which ends the dataset, for what is wrong with all rows: arguments that cannot work, no
    PRODIA_TOKEN on the node, a bucket that takes no outputs, a column named as one of those above.
    """

    async def __call__(self, row: Row) -> dict[str, Any]:
        """Run the row's job, unless its outputs stand."""
        taken = FIELDS.intersection(row)
        if taken:
            raise InputError(f"the rows have columns of their own named {sorted(taken)}: rename them")
        plain = {name: _plain(value) for name, value in row.items()}
        return {**plain, **await super().__call__(plain)}


def _plain(value: Any) -> Any:
    """Return a value of NumPy's, which some blocks have for a plain one, as that; a tensor stays one."""
    is_plain = type(value).__module__ != "numpy" or value.ndim > 1
    return value if is_plain else value.tolist()
