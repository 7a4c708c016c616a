-- What happened to each incident, append-only. An event found twice (a crash came between finding and telling) has the
-- same key and replaces itself.
CREATE TABLE IF NOT EXISTS incident_events
(
    incident_id String,
    event_id String,
    rule LowCardinality(String),
    group String,
    kind LowCardinality(String),
    severity LowCardinality(String),
    began DateTime64(6, 'UTC'),
    at DateTime64(6, 'UTC'),
    author String,
    message String CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (incident_id, event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- Incidents that match are not told of until then. `matchers` is JSON; `ends` in the past is a silence taken back.
CREATE TABLE IF NOT EXISTS silences
(
    silence_id String,
    matchers String,
    starts DateTime64(6, 'UTC'),
    ends DateTime64(6, 'UTC'),
    author String,
    comment String,
    ingested_at DateTime64(6, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY silence_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- Every attempt to deliver a message, the log and the outbox in one: attempt 0 says that it is due, and the last
-- attempt of a message says what is left to do.
CREATE TABLE IF NOT EXISTS deliveries
(
    delivery_id String,
    attempt UInt32,
    channel LowCardinality(String),
    state LowCardinality(String),
    body String CODEC(ZSTD(1)),
    error String,
    at DateTime64(6, 'UTC'),
    next_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (delivery_id, attempt)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
