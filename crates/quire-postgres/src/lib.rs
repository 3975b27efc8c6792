//! A private PostgreSQL server as a child process of quire; knows processes and files, no SQL.
