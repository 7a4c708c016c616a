-- Verdicts of the judge by what was judged: a hash of rubric, model, parameters and conversation. The same content is
-- paid for once.
CREATE TABLE IF NOT EXISTS judgements
(
    content String,
    value Nullable(Float64),
    label LowCardinality(String),
    reason String CODEC(ZSTD(1)),
    confidence Nullable(Float64),
    span_id String,
    ingested_at DateTime64(6, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY content
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
