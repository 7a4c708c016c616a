-- What each conversation's prompt asks: its template (variables masked), a vector of it, and the group it falls into.
-- Written by a follower from `spans`; facts of the call are repeated so that figures of groups need no join.
-- Vectors are exact in bfloat16 and do not compress.
CREATE TABLE IF NOT EXISTS embeddings
(
    project LowCardinality(String),
    started_at DateTime64(6, 'UTC'),
    span_id String,
    counted Bool,
    model LowCardinality(String),
    session_id String,
    status LowCardinality(String),
    latency_ms Float64,
    cost_usd Nullable(Float64),
    template UInt64,
    template_text String CODEC(ZSTD(1)),
    vector Array(BFloat16) CODEC(NONE),
    prompt_group LowCardinality(String),
    version UInt64,
    INDEX by_span_id span_id TYPE bloom_filter(0.01)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(started_at)
ORDER BY (project, started_at, span_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
