"""Pictures for a table of captions, made by Ray Data into a bucket.

python ray_pictures.py captions.csv s3://bucket/pictures/ results/

The table has the columns `sku` and `caption`. The same again sends nothing for rows whose pictures stand.
"""

from __future__ import annotations

import sys
from collections import Counter

import ray

from prodia_async.ray import Generate


def main(table: str, bucket: str, results: str) -> None:
    """Make the pictures, write what became of each row, and print the sums."""
    pictures = ray.data.read_csv(table).repartition(target_num_rows_per_block=16)
    pictures = pictures.map(
        Generate,  # type: ignore[arg-type]  # Ray takes classes, too; its types tell of functions alone
        fn_constructor_kwargs={
            "type": "inference.flux-fast.schnell.txt2img.v2",
            "id": "sku",
            "config": {"prompt": "caption"},
            "accept": "image/png",
            "to": bucket,
        },
        compute=ray.data.ActorPoolStrategy(size=2, max_concurrent_calls_per_actor=4),
        num_cpus=0.1,  # an actor waits for the service most of the time
    )
    pictures.write_parquet(results, mode=ray.data.SaveMode.OVERWRITE)
    counts: Counter[str] = Counter()
    dollars = 0.0
    for row in ray.data.read_parquet(results, columns=["status", "dollars"]).iter_rows():
        counts[row["status"]] += 1
        dollars += row["dollars"] or 0
    for status, number in counts.items():
        print(f"{status}: {number} rows")
    print(f"${dollars:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
