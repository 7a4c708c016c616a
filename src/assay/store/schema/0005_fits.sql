-- What was learnt for a project from its own labels: a row a (project, metric, fit). The one used last is active;
-- fit 'shipped', without weights, stands for going back to what ships. Nothing is ever removed.
CREATE TABLE IF NOT EXISTS fits
(
    project String,
    metric LowCardinality(String),
    fit String,
    created_at DateTime64(6, 'UTC'),
    used_at DateTime64(6, 'UTC'),
    threshold Nullable(Float64),
    weights String CODEC(ZSTD(1)),
    report String CODEC(ZSTD(1)),
    author String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, metric, fit)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
