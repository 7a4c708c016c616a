-- Where each follower has got to: everything ingested up to (ingested_at, span_id) is done.
CREATE TABLE IF NOT EXISTS cursors
(
    follower String,
    ingested_at DateTime64(6, 'UTC'),
    span_id String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY follower
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
