-- What is decided once for an installation. The seed is that of the rotation of vectors in segments that it makes;
-- each segment carries its own, so those of before are read as they are.
create table directory.installation (
    is_only       boolean primary key default true check (is_only),
    rotation_seed bigint not null
);
insert into directory.installation (rotation_seed)
select ('x' || left(encode(uuid_send(gen_random_uuid()), 'hex'), 12))::bit(48)::bigint;
grant select on directory.installation to quire_worker;
