"""An archive too large for one machine: a pool of classifiers on a Ray cluster, answers as Parquet."""
