"""The journal's tables and statements, and the values that go in and come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

FILE_NAME = "journal.sqlite"

APPLICATION_ID = 0x50524A4C
"""Tells our files from other programs' (`pragma application_id`): "PRJL"."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A row's place is its time of arrival, not its custom_id: an id may be a hash, and a wide row written
        # twice at a random place of a large file costs twice what a slim index entry and a row at the end do.
        """
        create table jobs (
            id integer primary key,
            custom_id text not null unique,
            type text not null,
            state text not null,
            attempts integer not null,
            fingerprint blob not null,
            inputs_mark blob not null,
            reserved real,
            outputs text not null default '[]',
            dollars real,
            dearest real,
            uncertain real not null default 0,
            uncertain_attempts integer not null default 0,
            job_id text,
            expires_at real,
            record blob
        )
        """,
        """
        create table samples (
            id integer primary key,
            at real not null,
            done integer not null,
            failed integer not null,
            in_flight integer not null,
            "limit" integer not null,
            shed integer not null,
            requests integer not null,
            dollars real
        )
        """,
    ),
    # 2: a row tells of outputs before they have their names.
    ("alter table jobs add column parts text",),
    # 3: why the limits of job types have changed.
    (
        """
        create table limits (
            id integer primary key,
            at real not null,
            type text not null,
            "limit" integer not null,
            in_flight integer not null,
            why text not null
        )
        """,
    ),
    # 4: a folder knows its service and its shard.
    ("create table about (name text primary key, value text not null)",),
)
"""Step n brings a journal from version n (`pragma user_version`) to n + 1; a new file takes all steps.

`jobs`: `reserved` is set while an attempt is out and not settled; `dollars` and `uncertain` add up over all
attempts, `dearest` is the dearest single price; `job_id` and `expires_at` belong to the state `submitted`;
`record` is the line of results.jsonl, once the job is done or failed; `outputs` are all its files, also those
of an earlier run until others take their places; `parts` are temporary files that get these names next.
"""

VERSION = len(MIGRATIONS)

ABOUT = """
    select name, value from about
"""
BELONGS = """
    insert into about (name, value) values (?, ?) on conflict (name) do update set value = excluded.value
"""
IS_BEGUN = """
    select exists (
        select 1 from jobs where state <> 'waiting' or uncertain_attempts > 0 or dollars is not null
    )
"""

SENT = """
    insert into jobs (custom_id, type, state, attempts, fingerprint, inputs_mark, reserved)
    values (?, ?, 'sent', 1, ?, ?, ?)
    on conflict (custom_id) do update set
        type = excluded.type, state = 'sent', attempts = attempts + 1, fingerprint = excluded.fingerprint,
        inputs_mark = excluded.inputs_mark, reserved = excluded.reserved, parts = null, record = null,
        job_id = null, expires_at = null
"""
UNSENT = """
    insert into jobs (custom_id, type, state, attempts, fingerprint, inputs_mark)
    values (?, ?, 'waiting', 0, ?, ?)
    on conflict (custom_id) do update set
        type = excluded.type, fingerprint = excluded.fingerprint, inputs_mark = excluded.inputs_mark
"""
SUBMITTED = """
    update jobs set state = 'submitted', job_id = :job_id, expires_at = :expires_at
    where custom_id = :custom_id
"""
NOT_SENT = """
    update jobs set state = 'waiting', attempts = attempts - 1, reserved = null where custom_id = ?
"""
WAITING = """
    update jobs set state = 'waiting', reserved = null, job_id = null, expires_at = null,
        uncertain = uncertain + coalesce(:uncertain, 0),
        uncertain_attempts = uncertain_attempts + (:uncertain is not null)
    where custom_id = :custom_id
"""
ENDED = """
    update jobs set state = :state, record = :record, outputs = coalesce(:outputs, outputs), parts = :parts,
        reserved = null, job_id = :job_id, expires_at = null,
        dollars = coalesce(dollars + :dollars, :dollars, dollars),
        dearest = coalesce(max(coalesce(dearest, :dollars), :dollars), dearest),
        uncertain = uncertain + coalesce(:uncertain, 0),
        uncertain_attempts = uncertain_attempts + (:uncertain is not null)
    where custom_id = :custom_id
"""
SETTLE = """
    update jobs set uncertain = uncertain + reserved, uncertain_attempts = uncertain_attempts + 1,
        reserved = null
    where state = 'sent' and reserved is not null
"""
SAMPLE = """
    insert into samples (at, done, failed, in_flight, "limit", shed, requests, dollars)
    values (?, ?, ?, ?, ?, ?, ?, ?)
"""
SAMPLES = """
    select at, done, failed, in_flight, "limit", shed, requests, dollars from samples order by id
"""
LIMIT = """
    insert into limits (at, type, "limit", in_flight, why) values (?, ?, ?, ?, ?)
"""
FEWER_LIMITS = """
    delete from limits where id <= (select max(id) from limits) - ?
"""
LIMITS = """
    select at, type, "limit", in_flight, why from limits order by id
"""
TOTALS = """
    select type, sum(state = 'done'), sum(state = 'failed'), sum(state = 'sent'),
        sum(dollars), max(dearest),
        sum(uncertain + case when state = 'submitted' then coalesce(reserved, 0) else 0 end),
        sum(uncertain_attempts + (state = 'submitted' and reserved is not null)),
        sum(state = 'submitted')
    from jobs group by type
"""
FIND = """
    select custom_id, state, attempts, fingerprint, inputs_mark, outputs, job_id,
        case when state = 'submitted' then reserved end
    from jobs where custom_id in ({})
"""
PARTS = """
    select custom_id, parts, outputs from jobs where state = 'done' and parts is not null
"""
KEPT = """
    update jobs set parts = null where custom_id = ? and state = 'done'
"""
TELLS = """
    select 1 from jobs where instr(lower(outputs), lower(?)) limit 1
"""
RECORDS = """
    select custom_id, record from jobs
    where custom_id > ? and state in ({}) and record is not null order by custom_id limit ?
"""

State: TypeAlias = Literal["sent", "submitted", "waiting", "done", "failed"]


class Row(Struct, frozen=True):
    """What the journal knows of a job. `outputs` are paths, relative to the batch's folder, and bytes.

    `sent`: an attempt is out, or was when a run was cut; it may have been billed. `waiting`: the last attempt
    ended without a result. `submitted`: the service has it, under `job_id`, and `reserved` dollars are
    reckoned for it. `attempts` counts those of all runs.
    """

    state: State
    attempts: int
    fingerprint: bytes
    inputs_mark: bytes
    outputs: tuple[tuple[str, int], ...]
    job_id: str | None = None
    reserved: float | None = None


class Totals(Struct, frozen=True):
    """What all earlier runs of a batch came to: counts of jobs by state, and money in dollars.

    `sent` were in flight when a run was cut, and were not sent again since; `submitted` were at the service,
    and are collected. `dollars` adds up the reported
    prices; None if there was none. `uncertain` is what is reckoned for `uncertain_attempts` of unknown
    outcome, submitted jobs among them. `dearest` is the dearest reported price by job type.
    """

    done: int = 0
    failed: int = 0
    sent: int = 0
    dollars: float | None = None
    uncertain: float = 0.0
    uncertain_attempts: int = 0
    dearest: Mapping[str, float] = {}
    submitted: int = 0


class Sample(Struct, frozen=True):
    """How far a batch was at one time (`at`: seconds since 1970); the counts are those of `Progress`."""

    at: float
    done: int
    failed: int
    in_flight: int
    limit: int
    shed: int
    requests: int
    dollars: float | None
