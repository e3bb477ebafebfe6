"""The dataset on disk: the journal that forgets nothing, and the Parquet parts that readers see."""
