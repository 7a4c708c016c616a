-- Which of 64 random groups of sessions a score falls into (analytics/means.py): kept, because hashing the ids of
-- sessions was half of what a mean with its interval took. Of rows from before, it is computed as they are read.
ALTER TABLE scores ADD COLUMN IF NOT EXISTS sample UInt8 MATERIALIZED
    if(session_id = '', intHash64(toUnixTimestamp64Micro(started_at)), cityHash64(session_id)) % 64;
