-- Until then the worker has no business with the key, so producers that keep the waiting task share it.
-- Null: they take turns.
alter table queue.keyed add column due_at timestamptz;
