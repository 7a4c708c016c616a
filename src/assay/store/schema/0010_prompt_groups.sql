-- Kinds of question of each project: a row a group, the newest version of it. A group that a fit no longer found is
-- `gone`, and comes back under its id if its kind of question does. `fit_calls` counts what the fit saw in all.
CREATE TABLE IF NOT EXISTS prompt_groups
(
    project LowCardinality(String),
    prompt_group String,
    name String,
    words Array(String),
    examples Array(String),
    centroid Array(Float32),
    least Float64,
    embedding LowCardinality(String),
    gone Bool,
    born_at DateTime64(6, 'UTC'),
    fit_at DateTime64(6, 'UTC'),
    fit_calls UInt64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, prompt_group)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
