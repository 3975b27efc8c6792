-- A key for some people sees what they see, and changes nothing.
alter table directory.api_keys
    add column groups text[],
    add constraint api_keys_groups check (groups is null or role = 'read-only');
