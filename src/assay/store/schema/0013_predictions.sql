-- One row a prediction of a classical model; one sent again replaces itself. Features that are numbers and features
-- that are names stand in two maps; a missing value is NaN in `numbers`, whatever the feature otherwise is.
-- `prediction` is the class or the number as text, `prediction_value` the number of a regression.
CREATE TABLE IF NOT EXISTS predictions
(
    prediction_id String,
    key String,
    project LowCardinality(String),
    environment LowCardinality(String),
    service LowCardinality(String),
    model LowCardinality(String),
    model_version LowCardinality(String),
    task LowCardinality(String),
    reference Bool,
    predicted_at DateTime64(6, 'UTC'),
    numbers Map(LowCardinality(String), Float64),
    categories Map(LowCardinality(String), String),
    prediction String,
    prediction_value Nullable(Float64),
    probabilities Map(LowCardinality(String), Float32),
    confidence Nullable(Float32),
    latency_ms Nullable(Float64),
    cost_usd Nullable(Float64),
    input_hash UInt64,
    status LowCardinality(String),
    error_type LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64,
    INDEX by_prediction_id prediction_id TYPE bloom_filter(0.01),
    INDEX by_key key TYPE bloom_filter(0.01),
    INDEX by_ingested_at ingested_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(predicted_at)
ORDER BY (project, model, reference, predicted_at, prediction_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What turned out to be true, told later, of a prediction's id or of its key (the other is empty). A key may have
-- several predictions, and a label may come before its prediction.
CREATE TABLE IF NOT EXISTS labels
(
    project LowCardinality(String),
    model LowCardinality(String),
    prediction_id String,
    key String,
    label String,
    label_value Nullable(Float64),
    labelled_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    version UInt64,
    INDEX by_ingested_at ingested_at TYPE minmax
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, model, prediction_id, key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
