-- A journal: what the runs between two locations saw. Version 1.
-- Keys are blobs: UTF-8, and bytes that are not UTF-8 as they are. They sort as bytes, which is the order of listings.

CREATE TABLE meta (                -- what this file is, in words; stays readable for every version to come
    name        TEXT PRIMARY KEY,  -- schema, sterna, route, source, target, source_endpoint, target_endpoint, closed, usual
    value       TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE runs (
    number      INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,  -- unique over all journals: its start, and a few random digits
    command     TEXT NOT NULL,
    source      TEXT NOT NULL,         -- as the user wrote it
    target      TEXT NOT NULL,
    started_ns  INTEGER NOT NULL,
    ended_ns    INTEGER NOT NULL,      -- 0 while it runs, and where it died
    state       TEXT NOT NULL,         -- running, ended, interrupted
    exit_code   INTEGER NOT NULL,
    verdict     TEXT NOT NULL,
    counts      TEXT NOT NULL,         -- JSON: the figures of the summary
    notes       TEXT NOT NULL,         -- JSON: what the guards of later runs ask for
    filters     TEXT NOT NULL,         -- fingerprint of the filters
    options     TEXT NOT NULL,         -- JSON: the options as words, without secrets
    durable     INTEGER NOT NULL,      -- 0: files that it wrote were not flushed (--no-fsync)
    boot        TEXT NOT NULL,         -- which start of which machine: tells whether a power cut may have come between
    sterna      TEXT NOT NULL
);

CREATE TABLE outcomes (            -- what was not done: failed, refused, left, skipped
    run         INTEGER NOT NULL,
    number      INTEGER NOT NULL,  -- in the order in which they ended: so rows are appended
    key         BLOB NOT NULL,
    verb        TEXT NOT NULL,
    status      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    because     TEXT NOT NULL,
    error       TEXT NOT NULL,
    error_kind  TEXT NOT NULL,
    error_code  TEXT NOT NULL,
    error_words TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    exit_code   INTEGER NOT NULL,
    ended_ns    INTEGER NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

CREATE TABLE flights (             -- keys that a run had in hand: a row for each range, gone when the range has ended
    run         INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    keys        BLOB NOT NULL,     -- msgpack: a list of keys
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

CREATE TABLE tree (                -- the last-synced tree: what both sides had when they were last seen to be the same
    key         BLOB PRIMARY KEY,
    mark        BLOB NOT NULL,     -- model.synced.mark of the two sides: what an unchanged key is known by
    run         INTEGER NOT NULL,  -- the run that saw it
    source      BLOB NOT NULL,     -- msgpack: model.synced.Seen, or nil
    target      BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE uploads (             -- multipart uploads and copies in parts that may be open on the server
    token       TEXT PRIMARY KEY,  -- what the object will carry in its metadata
    run         INTEGER NOT NULL,
    key         BLOB NOT NULL,
    id          TEXT NOT NULL,     -- of the server; empty while its answer is not known
    source      BLOB NOT NULL,     -- msgpack: values.Seen, the version that it is made of
    part_size   INTEGER NOT NULL,
    checksum    TEXT NOT NULL,     -- the algorithm of the whole upload
    copy        INTEGER NOT NULL,
    begun_ns    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE parts (               -- parts that the server has
    token       TEXT NOT NULL,
    number      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    crc         BLOB,              -- 8 bytes, the highest first: it does not fit into SQLite's signed numbers
    PRIMARY KEY (token, number)
) WITHOUT ROWID;

CREATE TABLE downloads (           -- files that have not got their names yet
    temporary   BLOB PRIMARY KEY,  -- path of the unfinished file below the folder
    run         INTEGER NOT NULL,
    key         BLOB NOT NULL,
    source      BLOB NOT NULL,     -- msgpack: values.Seen, the version that every range is pinned to
    checksum    TEXT NOT NULL,     -- the algorithm of the ranges' sums
    begun_ns    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE ranges (              -- what of them is written
    temporary   BLOB NOT NULL,
    start       INTEGER NOT NULL,
    end         INTEGER NOT NULL,  -- excluded
    crc         BLOB NOT NULL,
    PRIMARY KEY (temporary, start)
) WITHOUT ROWID;
