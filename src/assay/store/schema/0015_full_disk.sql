-- On a disk that runs full the engine may finish a part whose files are empty, and say that all is well. So nothing is
-- inserted into the last 256 MiB, and what a part was merged of stays for eight minutes, as on a ClickHouse server (the
-- embedded engine would remove it after half a minute): see store/mend.py.
ALTER TABLE spans MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE scores MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE events MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE embeddings MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE predictions MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE labels MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456, old_parts_lifetime = 480;
ALTER TABLE judgements MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE incident_events MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE silences MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE deliveries MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE prompt_groups MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE fits MODIFY SETTING old_parts_lifetime = 480;
ALTER TABLE cursors MODIFY SETTING old_parts_lifetime = 480;
