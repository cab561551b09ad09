-- Database roles of a log: …_agent records, …_delivery delivers, …_projector keeps read models, …_reader only reads.
--
-- Run it as the owner of the log's schema, with that schema first in the search_path, after every `turnlog init`;
-- `turnlog init --roles PREFIX` does both. It is idempotent: afterwards each role has exactly these privileges. Missing
-- roles are created without a login, for which the owner needs CREATEROLE.
-- With psql: SET turnlog.roles = 'PREFIX'; \i roles.sql
DO $$
DECLARE
    place text := current_schema();
    prefix text := coalesce(nullif(current_setting('turnlog.roles', true), ''), 'turnlog');
    agent text := prefix || '_agent';
    delivery text := prefix || '_delivery';
    projector text := prefix || '_projector';
    reader text := prefix || '_reader';
    role text;
    name text;
    command text;
BEGIN
    FOREACH role IN ARRAY ARRAY[agent, delivery, projector, reader] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', place, role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', place, role);
        FOREACH name IN ARRAY ARRAY['alembic_version', 'deliveries', 'event_log', 'events', 'keys', 'origins',
                                    'removals', 'session_rows', 'timelines', 'unlocked'] LOOP
            EXECUTE format('REVOKE ALL ON %I.%I FROM %I, PUBLIC', place, name, role);
            IF name <> 'unlocked' AND (name <> 'deliveries' OR role <> agent) THEN
                EXECUTE format('GRANT SELECT ON %I.%I TO %I', place, name, role);
            END IF;
        END LOOP;
        FOREACH name IN ARRAY ARRAY['events_position_seq', 'origins_id_seq', 'removals_id_seq'] LOOP
            EXECUTE format('REVOKE ALL ON SEQUENCE %I.%I FROM %I, PUBLIC', place, name, role);
        END LOOP;
    END LOOP;
    -- By column: roles may not choose a transaction id, a position, an origin's writer, or when a key was forgotten.
    FOREACH command IN ARRAY ARRAY[
        'INSERT (origin_id, seq, hook, version, perf_ns, wall_ns, payload, link) ON %I.events TO %I',
        'INSERT (session_id, origin, events, link) ON %I.origins TO %I',
        'INSERT (session_id, master, wrapped) ON %I.keys TO %I'
    ] LOOP
        EXECUTE format('GRANT ' || command, place, agent);
    END LOOP;
    FOREACH command IN ARRAY ARRAY[
        'INSERT ON %I.deliveries TO %I',
        'UPDATE (done, digest, events, parked, updated_ns) ON %I.deliveries TO %I'
    ] LOOP
        EXECUTE format('GRANT ' || command, place, delivery);
    END LOOP;
    -- A role that can write these rows decides what the statistics of all others show.
    EXECUTE format('GRANT INSERT, DELETE ON %I.session_rows TO %I', place, projector);
    -- The default of new databases since Postgres 15.
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', place);
END $$;
