"""Pictures for a table of captions, made by Daft into a bucket.

python daft_pictures.py captions.csv s3://bucket/pictures/ results/

The table has the columns `sku` and `caption`. The same again sends nothing for rows whose pictures stand.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import daft
from daft import DataType, col

from prodia_async.rows import Rows

OUTCOME = {"status": DataType.string(), "url": DataType.string(), "dollars": DataType.float64()}
OUTCOME |= {"error": DataType.string(), "may_have_run": DataType.bool()}


def main(table: str, bucket: str, results: str) -> None:
    """Make the pictures, write what became of each row, and print the sums."""
    rows = Rows(
        type="inference.flux-fast.schnell.txt2img.v2",
        id="sku",
        config={"prompt": "caption"},
        accept="image/png",
        to=bucket,
    )

    @daft.func(return_dtype=DataType.struct(OUTCOME), unnest=True, max_concurrency=64)
    async def picture(sku: str, caption: str) -> dict[str, Any]:
        return await rows({"sku": sku, "caption": caption})

    pictures = daft.read_csv(table).select(col("sku"), picture(col("sku"), col("caption")))
    pictures.write_parquet(results, write_mode="overwrite")
    counts: Counter[str] = Counter()
    dollars = 0.0
    for row in daft.read_parquet(f"{results}/*.parquet").iter_rows():
        counts[row["status"]] += 1
        dollars += row["dollars"] or 0
    for status, number in counts.items():
        print(f"{status}: {number} rows")
    print(f"${dollars:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
