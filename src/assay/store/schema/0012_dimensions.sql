-- What calls are grouped by without reading their texts and attributes. Of rows from before, it is computed as they are
-- read: nothing is rewritten.
ALTER TABLE spans ADD COLUMN IF NOT EXISTS prompt_hash UInt64 MATERIALIZED cityHash64(prompt) AFTER prompt;
ALTER TABLE spans ADD COLUMN IF NOT EXISTS release LowCardinality(String) MATERIALIZED attributes['service.version'] AFTER service;
