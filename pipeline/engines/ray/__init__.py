"""`--engine ray`: shards of one job on a Ray cluster, with one budget of rate and money: see `cluster`."""
