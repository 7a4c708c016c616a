-- One row a (target, name, source, scorer, author); judging again replaces the former verdict.
-- The target's project, model, session and start are repeated here so that charts need no join.
CREATE TABLE IF NOT EXISTS scores
(
    target String,
    name LowCardinality(String),
    value Nullable(Float64),
    label LowCardinality(String),
    comment String CODEC(ZSTD(1)),
    scorer LowCardinality(String),
    scorer_version LowCardinality(String),
    source LowCardinality(String),
    author String,
    confidence Nullable(Float64),
    project LowCardinality(String),
    model LowCardinality(String),
    session_id String,
    started_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64,
    INDEX by_target target TYPE bloom_filter(0.01),
    INDEX by_session_id session_id TYPE bloom_filter(0.01),
    INDEX by_ingested_at ingested_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(started_at)
ORDER BY (project, name, started_at, target, source, scorer, author)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
