//! PostgreSQL (directory, shard, tenant transactions, migrations) and object storage.
