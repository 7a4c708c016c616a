-- What counting each call once needs: the span under which a call is counted ('' for itself), what the sender
-- said where settling changed it (JSON), and a key that spans of one call share where no response id does.
ALTER TABLE spans ADD COLUMN IF NOT EXISTS duplicate_of String AFTER counted;
ALTER TABLE spans ADD COLUMN IF NOT EXISTS as_sent String CODEC(ZSTD(1)) AFTER duplicate_of;
ALTER TABLE spans ADD COLUMN IF NOT EXISTS call_key String AFTER as_sent;
-- Tokens counted from the texts of a call whose usage nobody reported.
ALTER TABLE spans ADD COLUMN IF NOT EXISTS estimated_input_tokens Nullable(Int64) AFTER tokens_estimated;
ALTER TABLE spans ADD COLUMN IF NOT EXISTS estimated_output_tokens Nullable(Int64) AFTER estimated_input_tokens;
-- A score of a span that is no longer counted stays, but no summary sees it.
ALTER TABLE scores ADD COLUMN IF NOT EXISTS counted Bool DEFAULT true AFTER confidence;
-- GenAI events that came as log records: the texts of calls, and verdicts. The same record sent again replaces itself.
CREATE TABLE IF NOT EXISTS events
(
    trace_id String,
    span_id String,
    name LowCardinality(String),
    at DateTime64(6, 'UTC'),
    position UInt32,
    body String CODEC(ZSTD(1)),
    attributes String CODEC(ZSTD(1)),
    digest String,
    scope_name LowCardinality(String),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01),
    INDEX by_ingested_at ingested_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(at)
ORDER BY (trace_id, span_id, name, at, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
