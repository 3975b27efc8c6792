-- The newest readers of files that any process brought: when they are newer than this, every tenant is looked
-- through for what older ones read, once.
create table directory.readers (
    is_only    boolean primary key default true check (is_only),
    generation integer not null
);
grant select, insert, update on directory.readers to quire_worker;
